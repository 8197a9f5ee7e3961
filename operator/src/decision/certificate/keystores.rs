//! Keystores in a Certificate's Secret: which ones, and with which passwords.

use std::{collections::BTreeMap, fmt};

use crds::{
    certmanager::{CertificateSpec, Pkcs12Profile as WireProfile},
    meta::SecretKeySelector,
};
use zeroize::Zeroizing;

use super::{Dependency, SecretView, prerequisite::Prerequisite};
use crate::{
    objects::secret::{JKS, JKS_TRUST, OUTDATED_KEYSTORES, PKCS12, PKCS12_TRUST},
    pki::{Pkcs12Profile, jks_accepts, jks_matches, pkcs12_accepts, pkcs12_matches},
};

/// The keystores that a spec asks for. Each comes with a truststore if the issuer provides a CA certificate.
#[derive(Clone, Debug, Default)]
pub struct Keystores {
    /// `keystore.jks`.
    pub jks: Option<JksPlan>,
    /// `keystore.p12`.
    pub pkcs12: Option<Pkcs12Plan>,
    /// What the Secret has of those that are asked for and can't be created now, by data key: programs use it until then.
    pub outdated: BTreeMap<&'static str, Vec<u8>>,
    /// Why one that is asked for can't be created.
    pub(super) obstacle: Option<Dependency>,
}

/// A Java keystore to be created.
#[derive(Clone, Debug)]
pub struct JksPlan {
    /// The alias of the key.
    pub alias: String,
    /// The password of the store and of the key.
    pub password: Password,
}

/// A PKCS#12 keystore to be created.
#[derive(Clone, Debug)]
pub struct Pkcs12Plan {
    /// How it is encrypted.
    pub profile: Pkcs12Profile,
    /// Its password.
    pub password: Password,
}

/// A password. It is wiped from memory when dropped, and never printed.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// The password in a Secret, if it is text.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok().map(Self::from)
    }

    /// The text, which must not be logged.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Password {
    fn from(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The passwords that were read, by where they were read from; `None` if there is none.
#[derive(Clone, Debug, Default)]
pub struct Passwords(pub Vec<(SecretKeySelector, Option<Password>)>);

impl Passwords {
    fn get(&self, reference: &SecretKeySelector) -> Option<&Password> {
        self.0.iter().find(|(of, _)| of == reference)?.1.as_ref()
    }
}

impl Keystores {
    /// Parses `spec.keystores`. One that can't be created is left out, because it must not hold up the certificate.
    pub(super) fn parse(
        spec: &CertificateSpec,
        passwords: Option<&Passwords>,
        secret: Option<&SecretView>,
    ) -> Result<Self, Prerequisite> {
        let mut parsed = Self::default();
        let Some(keystores) = &spec.keystores else { return Ok(parsed) };
        let jks = keystores.jks.as_ref().filter(|store| store.create);
        let pkcs12 = keystores.pkcs12.as_ref().filter(|store| store.create);
        let references = [
            jks.and_then(|store| store.password_secret_ref.as_ref()),
            pkcs12.and_then(|store| store.password_secret_ref.as_ref()),
        ];
        let password = |literal: Option<&String>, reference: Option<&SecretKeySelector>| {
            let Some(reference) = reference else {
                return Ok(Ok(Password::from(literal.map(String::as_str).unwrap_or_default())));
            };
            let needed = || references.into_iter().flatten().cloned().collect();
            let passwords = passwords.ok_or_else(|| Prerequisite::KeystorePasswords(needed()))?;
            Ok(passwords.get(reference).cloned().ok_or_else(|| missing(reference)))
        };
        if let Some(store) = jks {
            let alias = store.alias.as_deref().filter(|alias| !alias.is_empty()).unwrap_or("certificate");
            let password = password(store.password.as_ref(), store.password_secret_ref.as_ref())?;
            let usable = password.and_then(|it| if jks_accepts(alias) { Ok(it) } else { Err(unfit_alias()) });
            let plan = usable.map(|password| JksPlan { alias: alias.to_owned(), password });
            parsed.jks = parsed.usable(plan, [JKS, JKS_TRUST], secret);
        }
        if let Some(store) = pkcs12 {
            let password = password(store.password.as_ref(), store.password_secret_ref.as_ref())?;
            let usable = password
                .and_then(|it| if pkcs12_accepts(it.reveal()) { Ok(it) } else { Err(unfit_password()) });
            let plan = usable.map(|password| Pkcs12Plan { profile: profile(store.profile), password });
            parsed.pkcs12 = parsed.usable(plan, [PKCS12, PKCS12_TRUST], secret);
        }
        Ok(parsed)
    }

    /// The plan of a keystore, if it can be created; otherwise notes why it can't be, and what the Secret has of it.
    fn usable<P>(
        &mut self,
        plan: Result<P, Dependency>,
        names: [&'static str; 2],
        secret: Option<&SecretView>,
    ) -> Option<P> {
        match plan {
            Ok(plan) => Some(plan),
            Err(obstacle) => {
                self.obstacle.get_or_insert(obstacle);
                let existing = names.into_iter().filter_map(|name| {
                    Some((name, secret.and_then(|secret| secret.keystores.get(name))?.clone()))
                });
                self.outdated.extend(existing);
                None
            }
        }
    }

    /// What is wrong with a keystore in a Secret that can be created, if anything is.
    pub(super) fn unfit_in(&self, secret: &SecretView) -> Option<String> {
        let jks = self.jks.as_ref().map(|plan| {
            let matches = |store: &Vec<u8>| jks_matches(store, &plan.alias, plan.password.reveal());
            ([JKS, JKS_TRUST], "JKS", secret.keystores.get(JKS).is_none_or(matches))
        });
        let pkcs12 = self.pkcs12.as_ref().map(|plan| {
            let matches = |store: &Vec<u8>| pkcs12_matches(store, plan.profile, plan.password.reveal());
            ([PKCS12, PKCS12_TRUST], "PKCS12", secret.keystores.get(PKCS12).is_none_or(matches))
        });
        let outdated = secret.annotations.get(OUTDATED_KEYSTORES);
        let has = |name: &str| secret.present.iter().any(|present| present == name);
        jks.into_iter().chain(pkcs12).find_map(|([name, trust], kind, matches)| {
            if !has(name) || (secret.provides_authorities && !has(trust)) {
                Some(format!("{kind} Keystore key does not contain data"))
            } else if outdated.is_some_and(|names| names.split(',').any(|it| it == name)) {
                Some(format!("{name:?} in the Secret has an earlier certificate"))
            } else if !matches {
                Some(format!("{name:?} in the Secret was encoded with another password, alias or profile"))
            } else {
                None
            }
        })
    }
}

fn profile(wire: Option<WireProfile>) -> Pkcs12Profile {
    match wire {
        Some(WireProfile::LegacyDES) => Pkcs12Profile::LegacyDes,
        Some(WireProfile::Modern2023) => Pkcs12Profile::Modern2023,
        Some(WireProfile::Modern2026) => Pkcs12Profile::Modern2026,
        Some(WireProfile::LegacyRC2) | None => Pkcs12Profile::LegacyRc2,
    }
}

fn missing(reference: &SecretKeySelector) -> Dependency {
    Dependency {
        what: format!("the keystore password in the Secret {:?}", reference.name),
        why: format!(
            "the Secret does not exist, or has no text under {:?}. Create or correct it",
            reference.key.as_deref().unwrap_or_default()
        ),
    }
}

fn unfit_alias() -> Dependency {
    Dependency {
        what: "another value of spec.keystores.jks.alias".to_owned(),
        why: "an alias in a Java keystore has at most 65,535 bytes, and no NUL and no characters beyond U+FFFF, such as emoji"
            .to_owned(),
    }
}

fn unfit_password() -> Dependency {
    Dependency {
        what: "another password of the PKCS#12 keystore".to_owned(),
        why: "it can't contain emoji or other characters beyond U+FFFF".to_owned(),
    }
}
