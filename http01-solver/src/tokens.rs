//! The key authorizations of all Challenges by token and host. Knows Challenges, but not how they are watched.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use crds::acme::{Challenge, ChallengeType};
use kube::ResourceExt;
use tokio::time::Instant;

/// Maximum length of a token. RFC 8555 section 8.3 sets no limit; known servers use 22 to 43 characters.
const TOKEN_LIMIT: usize = 128;

/// Time without a response from the API server after which the table may be outdated. The watch gets one at least every 45 s.
const SILENCE_LIMIT: Duration = Duration::from_mins(2);

/// The table of all HTTP-01 challenges, shared between the watch and the server.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    table: Arc<RwLock<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    /// Whether all existing Challenges have been listed. Until then, a missing token may belong to one of them.
    synced: bool,
    /// When the API server last responded.
    heard: Option<Instant>,
    /// Key authorizations. Two Challenges have the same token and host if two orders share an authorization.
    answers: BTreeMap<Place, String>,
    /// Where the answer of a Challenge is, by `namespace/name`.
    places: HashMap<String, Place>,
}

/// Where an answer is in the table: those of the same token and host are next to each other, the oldest first. So a Challenge that
/// copies the token of another one can't replace its answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    token: String,
    /// The DNS name or IP address, as [`normalized_host`] returns it.
    host: String,
    /// When the Challenge was created, in seconds since 1970.
    created_second: Option<i64>,
    /// The Challenge that the answer belongs to, as `namespace/name`.
    challenge: String,
}

impl Tokens {
    /// Returns the key authorization for a token and a `Host` header, if a Challenge has both.
    ///
    /// ```
    /// use crds::fixtures;
    /// use http01_solver::Tokens;
    ///
    /// let tokens = Tokens::default();
    /// tokens.replace_all([fixtures::challenge("web", |_| {})]);
    /// assert_eq!(tokens.answer("web.example.test:80", "a-token").as_deref(), Some("a-token.a-thumbprint"));
    /// assert_eq!(tokens.answer("other.example.test", "a-token"), None);
    /// ```
    pub fn answer(&self, host: &str, token: &str) -> Option<String> {
        if !is_token(token) {
            return None;
        }
        let first = Place {
            token: token.to_owned(),
            host: normalized_host(host),
            created_second: None,
            challenge: String::new(),
        };
        let table = self.read();
        let (place, key_authorization) = table.answers.range(&first..).next()?;
        (place.token == first.token && place.host == first.host).then(|| key_authorization.clone())
    }

    /// Returns whether all existing Challenges have been listed.
    pub fn is_synced(&self) -> bool {
        self.read().synced
    }

    /// Returns whether the API server has responded within the last two minutes.
    pub fn is_current(&self) -> bool {
        self.read().heard.is_some_and(|heard| heard.elapsed() < SILENCE_LIMIT)
    }

    /// Notes that the API server responded just now.
    pub fn note_response(&self) {
        self.write().heard = Some(Instant::now());
    }

    /// Replaces the table with these Challenges, which are all that exist.
    pub fn replace_all(&self, challenges: impl IntoIterator<Item = Challenge>) {
        let mut table = Table { synced: true, heard: Some(Instant::now()), ..Table::default() };
        challenges.into_iter().for_each(|challenge| table.insert(&challenge));
        *self.write() = table;
    }

    /// Replaces the Challenges of a namespace with these, which are all that exist there.
    pub fn replace_namespace(&self, namespace: &str, challenges: impl IntoIterator<Item = Challenge>) {
        let mut table = self.write();
        let prefix = format!("{namespace}/");
        let before: Vec<_> = table.places.keys().filter(|key| key.starts_with(&prefix)).cloned().collect();
        for challenge in &before {
            table.remove(challenge);
        }
        challenges.into_iter().for_each(|challenge| table.insert(&challenge));
    }

    /// Notes that all namespaces have been listed.
    pub fn note_synced(&self) {
        self.write().synced = true;
    }

    /// Adds a Challenge, or replaces the one of the same name.
    pub fn insert(&self, challenge: &Challenge) {
        let mut table = self.write();
        table.remove(&object_key(challenge));
        table.insert(challenge);
    }

    /// Removes a Challenge.
    pub fn remove(&self, challenge: &Challenge) {
        self.write().remove(&object_key(challenge));
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn insert(&mut self, challenge: &Challenge) {
        let spec = &challenge.spec;
        if spec.type_ != ChallengeType::Http01 || !is_token(&spec.token) {
            return;
        }
        let place = Place {
            token: spec.token.clone(),
            host: normalized_host(&spec.dns_name),
            created_second: challenge.metadata.creation_timestamp.as_ref().map(|time| time.0.as_second()),
            challenge: object_key(challenge),
        };
        self.places.insert(place.challenge.clone(), place.clone());
        self.answers.insert(place, spec.key.clone());
    }

    /// Removes the answer of a Challenge. Its token may be another one now than when it was inserted: a Challenge of the same name
    /// may have been deleted while the watch was interrupted.
    fn remove(&mut self, challenge: &str) {
        if let Some(place) = self.places.remove(challenge) {
            self.answers.remove(&place);
        }
    }
}

fn object_key(challenge: &Challenge) -> String {
    format!("{}/{}", challenge.namespace().unwrap_or_default(), challenge.name_any())
}

/// Returns whether a text can be a token: base64url without padding (RFC 8555 section 8.3).
fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !text.is_empty() && text.len() <= TOKEN_LIMIT && text.bytes().all(allowed)
}

/// Returns a host in lowercase, without port, brackets, and trailing dot.
fn normalized_host(host: &str) -> String {
    let host = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']').map(|(address, _)| address).unwrap_or_default(),
        // More than one colon: an IPv6 address, which cannot have a port without brackets.
        None if host.matches(':').count() == 1 => host.split(':').next().unwrap_or_default(),
        None => host,
    };
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use crds::fixtures::challenge;

    use super::*;

    fn answer(tokens: &Tokens, host: &str) -> Option<String> {
        tokens.answer(host, "a-token")
    }

    #[test]
    fn list_of_a_namespace_replaces_no_other() {
        let tokens = Tokens::default();
        let of = |namespace: &str| {
            challenge(namespace, |it| {
                it.metadata.namespace = Some(namespace.to_owned());
                it.spec.dns_name = format!("{namespace}.example.test");
            })
        };
        tokens.replace_namespace("a", [of("a")]);
        tokens.replace_namespace("a-too", [of("a-too")]);
        tokens.replace_namespace("a", []);
        assert_eq!(answer(&tokens, "a.example.test"), None);
        assert!(answer(&tokens, "a-too.example.test").is_some() && !tokens.is_synced());
    }

    #[test]
    fn hosts_match_in_any_spelling() {
        let tokens = Tokens::default();
        tokens.insert(&challenge("web", |_| {}));
        for host in ["web.example.test", "WEB.Example.test", "web.example.test:80", "web.example.test."] {
            assert_eq!(answer(&tokens, host).as_deref(), Some("a-token.a-thumbprint"), "{host}");
        }
        for host in
            ["", "example.test", "www.web.example.test", "web.example.test.evil.test", "[web.example.test"]
        {
            assert_eq!(answer(&tokens, host), None, "{host}");
        }
    }

    #[test]
    fn ip_addresses_match_with_and_without_brackets() {
        let tokens = Tokens::default();
        tokens.insert(&challenge("v4", |it| it.spec.dns_name = "192.0.2.1".into()));
        tokens.insert(&challenge("v6", |it| it.spec.dns_name = "2001:db8::1".into()));
        for host in ["192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:DB8::1]", "[2001:db8::1]:80"] {
            assert!(answer(&tokens, host).is_some(), "{host}");
        }
    }

    #[test]
    fn challenges_with_the_same_token_are_independent() {
        let tokens = Tokens::default();
        let (one, other) = (challenge("one", |_| {}), challenge("other", |_| {}));
        tokens.insert(&one);
        tokens.insert(&other);
        tokens.remove(&one);
        assert!(answer(&tokens, "one.example.test").is_none(), "removed");
        assert!(answer(&tokens, "other.example.test").is_some(), "not removed");
        tokens.remove(&other);
        assert!(answer(&tokens, "other.example.test").is_none());
        let table = tokens.read();
        assert!(table.answers.is_empty() && table.places.is_empty(), "nothing is left of them");
    }

    /// A copy of a Challenge, in whichever namespace, does not replace the answer of the original.
    #[test]
    fn oldest_challenge_of_a_token_and_host_answers() {
        let tokens = Tokens::default();
        let created = |namespace: &str, second: i64, key: &str| {
            let mut of = challenge("web", |it| it.spec.key = key.to_owned());
            of.metadata.namespace = Some(namespace.to_owned());
            let time = serde_json::json!(format!("2026-01-01T00:00:{second:02}Z"));
            of.metadata.creation_timestamp = serde_json::from_value(time).ok();
            of
        };
        let (original, copy) = (created("b", 1, "original"), created("a", 2, "copy"));
        for order in [[&original, &copy], [&copy, &original]] {
            tokens.replace_all(order.map(Clone::clone));
            assert_eq!(answer(&tokens, "web.example.test").as_deref(), Some("original"));
            // Its status changes.
            tokens.insert(&original);
            assert_eq!(answer(&tokens, "web.example.test").as_deref(), Some("original"));
        }
        tokens.remove(&original);
        assert_eq!(answer(&tokens, "web.example.test").as_deref(), Some("copy"));
    }

    /// A burst, of which all Challenges have the same token.
    #[test]
    fn removal_does_not_search_the_table() {
        let tokens = Tokens::default();
        let all: Vec<_> = (0..20_000).map(|number| challenge(&format!("c-{number}"), |_| {})).collect();
        let started = Instant::now();
        for challenge in &all {
            tokens.insert(challenge);
        }
        for challenge in &all {
            tokens.remove(challenge);
        }
        let time = started.elapsed();
        assert!(time < Duration::from_secs(3), "20,000 insertions and removals took {time:?}");
    }

    #[test]
    fn insert_replaces_the_challenge_of_the_same_name() {
        let tokens = Tokens::default();
        tokens.insert(&challenge("web", |_| {}));
        tokens.insert(&challenge("web", |it| it.spec.token = "another-token".into()));
        assert_eq!(answer(&tokens, "web.example.test"), None);
        assert!(tokens.answer("web.example.test", "another-token").is_some());
    }

    #[test]
    fn other_types_and_invalid_tokens_are_ignored() {
        let tokens = Tokens::default();
        tokens.insert(&challenge("dns", |it| it.spec.type_ = ChallengeType::Dns01));
        assert_eq!(answer(&tokens, "dns.example.test"), None);
        for token in ["", "../a-token", "a token", "a/token", "a.token", "ä", &"a".repeat(TOKEN_LIMIT + 1)] {
            tokens.insert(&challenge("odd", |it| it.spec.token = token.to_owned()));
            assert_eq!(tokens.answer("odd.example.test", token), None, "{token}");
        }
    }

    #[test]
    fn replace_all_marks_the_table_as_synced() {
        let tokens = Tokens::default();
        tokens.insert(&challenge("early", |_| {}));
        assert!(!tokens.is_synced());
        tokens.replace_all([challenge("web", |_| {})]);
        assert!(tokens.is_synced());
        assert!(answer(&tokens, "early.example.test").is_none(), "not in the list");
        assert!(answer(&tokens, "web.example.test").is_some());
    }
}
