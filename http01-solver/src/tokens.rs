//! Which token is answered with what, for which host. Knows Challenges, nothing of how they are watched.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use crds::acme::{Challenge, ChallengeType};
use kube::ResourceExt;

/// Longest token that is looked up. RFC 8555 section 8.3 sets no limit; known servers use 22 to 43 characters.
const TOKEN_LIMIT: usize = 128;

/// The answers to all HTTP-01 challenges that exist, shared between the watch and the server.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    table: Arc<RwLock<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    /// Whether all that exist are known: until then, what is not found may exist.
    synced: bool,
    /// By token. Two Challenges share a token where two orders share an authorization.
    answers: HashMap<String, Vec<Answer>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    /// Which Challenge it is of: `namespace/name`.
    challenge: String,
    /// Lower case, without port or brackets.
    host: String,
    key_authorization: String,
}

impl Tokens {
    /// The key authorization for a token, asked for under a host, which is what stands in the `Host` header.
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
        let host = normalized_host(host);
        let table = self.read();
        let answer = table.answers.get(token)?.iter().find(|answer| answer.host == host)?;
        Some(answer.key_authorization.clone())
    }

    /// Whether all Challenges that exist are known.
    pub fn is_synced(&self) -> bool {
        self.read().synced
    }

    /// Takes these Challenges for all that exist.
    pub fn replace_all(&self, challenges: impl IntoIterator<Item = Challenge>) {
        let mut fresh = Table { synced: true, ..Table::default() };
        challenges.into_iter().for_each(|challenge| fresh.insert(&challenge));
        *self.write() = fresh;
    }

    /// A Challenge exists, or has changed.
    pub fn insert(&self, challenge: &Challenge) {
        let mut table = self.write();
        table.remove(challenge);
        table.insert(challenge);
    }

    /// A Challenge is gone.
    pub fn remove(&self, challenge: &Challenge) {
        self.write().remove(challenge);
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
        self.answers.entry(spec.token.clone()).or_default().push(Answer {
            challenge: object_key(challenge),
            host: normalized_host(&spec.dns_name),
            key_authorization: spec.key.clone(),
        });
    }

    fn remove(&mut self, challenge: &Challenge) {
        let key = object_key(challenge);
        // Its spec can't change, but a new one may have taken its name while nobody watched.
        self.answers.retain(|_, answers| {
            answers.retain(|answer| answer.challenge != key);
            !answers.is_empty()
        });
    }
}

fn object_key(challenge: &Challenge) -> String {
    format!("{}/{}", challenge.namespace().unwrap_or_default(), challenge.name_any())
}

/// Whether a text can be a token: base64url without padding, RFC 8555 section 8.3.
fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !text.is_empty() && text.len() <= TOKEN_LIMIT && text.bytes().all(allowed)
}

/// A host as Challenges have it: without port, brackets or the dot at its end, in lower case.
fn normalized_host(host: &str) -> String {
    let host = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']').map(|(address, _)| address).unwrap_or_default(),
        // More than one colon is an address of version 6, which has no port without brackets.
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
    fn a_token_is_answered_for_its_host_alone_however_that_is_written() {
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
    fn an_address_is_a_host_with_or_without_brackets() {
        let tokens = Tokens::default();
        tokens.insert(&challenge("v4", |it| it.spec.dns_name = "192.0.2.1".into()));
        tokens.insert(&challenge("v6", |it| it.spec.dns_name = "2001:db8::1".into()));
        for host in ["192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:DB8::1]", "[2001:db8::1]:80"] {
            assert!(answer(&tokens, host).is_some(), "{host}");
        }
    }

    #[test]
    fn two_challenges_with_one_token_are_answered_each_and_go_each() {
        let tokens = Tokens::default();
        let (one, other) = (challenge("one", |_| {}), challenge("other", |_| {}));
        tokens.insert(&one);
        tokens.insert(&other);
        tokens.remove(&one);
        assert!(
            answer(&tokens, "one.example.test").is_none() && answer(&tokens, "other.example.test").is_some()
        );
        tokens.remove(&other);
        assert!(answer(&tokens, "other.example.test").is_none());
        assert!(tokens.read().answers.is_empty());
    }

    #[test]
    fn what_takes_the_name_of_another_takes_its_place() {
        let tokens = Tokens::default();
        tokens.insert(&challenge("web", |_| {}));
        tokens.insert(&challenge("web", |it| it.spec.token = "another-token".into()));
        assert_eq!(answer(&tokens, "web.example.test"), None);
        assert!(tokens.answer("web.example.test", "another-token").is_some());
    }

    #[test]
    fn only_http_01_is_answered_and_only_what_can_be_a_token() {
        let tokens = Tokens::default();
        tokens.insert(&challenge("dns", |it| it.spec.type_ = ChallengeType::Dns01));
        assert_eq!(answer(&tokens, "dns.example.test"), None);
        for token in ["", "../a-token", "a token", "a/token", "a.token", "ä", &"a".repeat(TOKEN_LIMIT + 1)] {
            tokens.insert(&challenge("odd", |it| it.spec.token = token.to_owned()));
            assert_eq!(tokens.answer("odd.example.test", token), None, "{token}");
        }
    }

    #[test]
    fn it_is_synced_once_all_are_known() {
        let tokens = Tokens::default();
        tokens.insert(&challenge("early", |_| {}));
        assert!(!tokens.is_synced());
        tokens.replace_all([challenge("web", |_| {})]);
        assert!(tokens.is_synced() && answer(&tokens, "early.example.test").is_none());
        assert!(answer(&tokens, "web.example.test").is_some());
    }
}
