//! What to do about an Issuer or ClusterIssuer: make its key, find its account, or leave it alone.

use crds::{
    acme::AcmeIssuer,
    certmanager::IssuerStatus,
    condition::{self, ConditionStatus},
};
use hyper::Uri;

/// What is known of the Secret with the account's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyView {
    /// There is none, or it is empty.
    Absent,
    /// It can't be read; why.
    Invalid(String),
    /// It is there.
    Present {
        /// Base64 of the SHA-256 over it, as `status.acme.lastPrivateKeyHash` has it.
        hash: String,
    },
}

/// The next thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: the account is known.
    Nothing,
    /// Makes the account's key.
    GenerateKey,
    /// Finds the account, or makes one, and tells the server whom to write to.
    Register,
    /// It can't work like this: says so, and waits for a change.
    Refuse {
        /// For programs.
        reason: &'static str,
        /// For people.
        message: String,
    },
}

/// Decides.
pub fn decide(acme: &AcmeIssuer, status: &IssuerStatus, generation: Option<i64>, key: &KeyView) -> Step {
    if let Err((reason, message)) = check(acme) {
        return Step::Refuse { reason, message };
    }
    let secret = &acme.private_key_secret_ref.name;
    let hash = match key {
        KeyView::Absent if acme.disable_account_key_generation == Some(true) => {
            return Step::Refuse {
                reason: "ErrVerifyACMEAccount",
                message: format!(
                    "Failed to verify ACME account: the Secret {secret:?} with the account's private key does not exist, and \
                     disableAccountKeyGeneration is set: create it, and it will be used"
                ),
            };
        }
        KeyView::Absent => return Step::GenerateKey,
        KeyView::Invalid(why) => {
            return Step::Refuse {
                reason: "ErrVerifyACMEAccount",
                message: format!("Account private key is invalid: the Secret {secret:?}: {why}"),
            };
        }
        KeyView::Present { hash } => hash,
    };
    let known = status.acme.clone().unwrap_or_default();
    let is_ready = condition::find(&status.conditions, condition::READY).is_some_and(|ready| {
        // cert-manager writes which generation it looked at; what it looked at before counts as the present one.
        ready.status == ConditionStatus::True
            && ready.observed_generation.zip(generation).is_none_or(|(seen, now)| seen == now)
    });
    let same_server = host(known.uri.as_deref().unwrap_or_default()) == host(&acme.server);
    let same_contact = known.last_registered_email.unwrap_or_default() == contact(acme);
    // An issuer that another operator made ready may have no hash: then the key that is there is the account's.
    let same_key = known.last_private_key_hash.as_ref() == Some(hash);
    if is_ready && same_server && same_contact && same_key { Step::Nothing } else { Step::Register }
}

/// What to do about a server's refusal of an account, to be added to its words: `problem` is the type without its
/// namespace (RFC 8555 section 6.7), `binds` whether the issuer has an external account.
pub fn advice(problem: Option<&str>, binds: bool) -> &'static str {
    match problem {
        Some("externalAccountRequired") => {
            ": set spec.acme.externalAccountBinding to the key id and the MAC key that the CA gives to its customers"
        }
        Some("malformed" | "unauthorized") if binds => {
            ": check that spec.acme.externalAccountBinding has a keyID and a MAC key that the CA gave out together, and \
             that they are still good"
        }
        _ => "",
    }
}

/// Whom the server may write to.
pub fn contact(acme: &AcmeIssuer) -> String {
    acme.email.as_deref().unwrap_or_default().to_lowercase()
}

fn host(url: &str) -> Option<String> {
    url.parse::<Uri>().ok()?.authority().map(ToString::to_string)
}

/// Whether a spec can work at all.
fn check(acme: &AcmeIssuer) -> Result<(), (&'static str, String)> {
    let server = &acme.server;
    let scheme = server
        .parse::<Uri>()
        .ok()
        .filter(|uri| uri.authority().is_some())
        .and_then(|uri| uri.scheme_str().map(ToOwned::to_owned));
    match scheme.as_deref() {
        Some("https") => {}
        _ => {
            return Err((
                "InvalidURL",
                format!(
                    "spec.acme.server: {server:?} is no https URL: write the directory's, such as \
                     \"https://acme-v02.api.letsencrypt.org/directory\""
                ),
            ));
        }
    }
    if ["acme-v01.api.letsencrypt.org", "acme-staging.api.letsencrypt.org"]
        .iter()
        .any(|old| server.contains(old))
    {
        return Err((
            "InvalidConfig",
            format!(
                "spec.acme.server: {server:?} is the first version of Let's Encrypt's API, which is switched off: use \
                 \"https://acme-v02.api.letsencrypt.org/directory\""
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crds::{acme::AcmeIssuerStatus, condition::Condition, fixtures};

    use super::*;

    fn acme(change: impl FnOnce(&mut AcmeIssuer)) -> AcmeIssuer {
        let mut acme = fixtures::issuer("issuer", |_| {}).spec.acme.expect("an ACME issuer");
        acme.server = "https://ca.example.test/dir".into();
        acme.email = Some("Admin@example.test".into());
        change(&mut acme);
        acme
    }

    fn registered() -> IssuerStatus {
        IssuerStatus {
            acme: Some(AcmeIssuerStatus {
                last_private_key_hash: Some("hash".into()),
                last_registered_email: Some("admin@example.test".into()),
                uri: Some("https://ca.example.test/acct/1".into()),
            }),
            conditions: vec![Condition {
                last_transition_time: None,
                message: None,
                observed_generation: Some(1),
                reason: Some("ACMEAccountRegistered".into()),
                status: ConditionStatus::True,
                type_: condition::READY.into(),
            }],
        }
    }

    fn key() -> KeyView {
        KeyView::Present { hash: "hash".into() }
    }

    #[test]
    fn a_refusal_for_the_external_account_says_what_to_do() {
        assert!(
            advice(Some("externalAccountRequired"), false).contains("set spec.acme.externalAccountBinding")
        );
        assert!(advice(Some("unauthorized"), true).contains("gave out together"));
        assert_eq!(advice(Some("unauthorized"), false), "");
        assert_eq!(advice(None, true), "");
    }

    #[test]
    fn an_account_that_is_known_costs_nothing_and_any_change_looks_it_up() {
        assert_eq!(decide(&acme(|_| {}), &registered(), Some(1), &key()), Step::Nothing);
        for changed in
            [acme(|it| it.server = "https://other.example.test/dir".into()), acme(|it| it.email = None)]
        {
            assert_eq!(decide(&changed, &registered(), Some(1), &key()), Step::Register);
        }
        let other = KeyView::Present { hash: "other".into() };
        assert_eq!(decide(&acme(|_| {}), &registered(), Some(1), &other), Step::Register);
        assert_eq!(decide(&acme(|_| {}), &registered(), Some(2), &key()), Step::Register);
        assert_eq!(decide(&acme(|_| {}), &IssuerStatus::default(), Some(1), &key()), Step::Register);
    }

    #[test]
    fn a_key_is_made_unless_that_is_switched_off() {
        let absent = KeyView::Absent;
        assert_eq!(decide(&acme(|_| {}), &IssuerStatus::default(), Some(1), &absent), Step::GenerateKey);
        let disabled = acme(|it| it.disable_account_key_generation = Some(true));
        let step = decide(&disabled, &IssuerStatus::default(), Some(1), &absent);
        assert!(matches!(step, Step::Refuse { reason: "ErrVerifyACMEAccount", .. }), "{step:?}");
    }

    #[test]
    fn a_server_that_can_not_work_is_told_with_one_that_can() {
        for (server, expected) in [
            ("http://ca.example.test/dir", "InvalidURL"),
            ("ca", "InvalidURL"),
            ("https://acme-v01.api.letsencrypt.org/directory", "InvalidConfig"),
        ] {
            let Step::Refuse { reason, message } =
                decide(&acme(|it| it.server = server.into()), &registered(), Some(1), &key())
            else {
                panic!("{server} is taken")
            };
            assert_eq!(reason, expected);
            assert!(message.contains(server), "{message}");
        }
    }
}
