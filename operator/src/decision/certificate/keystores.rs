//! Keystores in a Certificate's Secret: which ones, and with which passwords.

use std::fmt;

use crds::{
    certmanager::{CertificateSpec, Pkcs12Profile as WireProfile},
    meta::SecretKeySelector,
};
use zeroize::Zeroizing;

use super::{
    Dependency, SecretView,
    prerequisite::{Prerequisite, Stop},
};
use crate::{
    objects,
    pki::{Pkcs12Profile, jks_matches, pkcs12_matches},
};

/// The keystores that a spec asks for.
#[derive(Clone, Debug, Default)]
pub struct Keystores {
    /// `keystore.jks`.
    pub jks: Option<JksPlan>,
    /// `keystore.p12`.
    pub pkcs12: Option<Pkcs12Plan>,
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
    /// Parses `spec.keystores`.
    pub(super) fn parse(spec: &CertificateSpec, passwords: Option<&Passwords>) -> Result<Self, Stop> {
        let Some(keystores) = &spec.keystores else { return Ok(Self::default()) };
        let jks = keystores.jks.as_ref().filter(|store| store.create);
        let pkcs12 = keystores.pkcs12.as_ref().filter(|store| store.create);
        let references = [
            jks.and_then(|store| store.password_secret_ref.as_ref()),
            pkcs12.and_then(|store| store.password_secret_ref.as_ref()),
        ];
        let password = |literal: Option<&String>, reference: Option<&SecretKeySelector>| {
            let Some(reference) = reference else {
                return Ok(Password::from(literal.map(String::as_str).unwrap_or_default()));
            };
            let needed = || references.into_iter().flatten().cloned().collect();
            let passwords = passwords.ok_or_else(|| Prerequisite::KeystorePasswords(needed()))?;
            passwords.get(reference).cloned().ok_or_else(|| Stop::WaitingFor(missing(reference)))
        };
        let jks = jks.map(|store| {
            let alias = store.alias.as_deref().filter(|alias| !alias.is_empty()).unwrap_or("certificate");
            let password = password(store.password.as_ref(), store.password_secret_ref.as_ref())?;
            Ok::<_, Stop>(JksPlan { alias: alias.to_owned(), password })
        });
        let pkcs12 = pkcs12.map(|store| {
            let password = password(store.password.as_ref(), store.password_secret_ref.as_ref())?;
            Ok::<_, Stop>(Pkcs12Plan { profile: profile(store.profile), password })
        });
        Ok(Self { jks: jks.transpose()?, pkcs12: pkcs12.transpose()? })
    }
}

impl Keystores {
    /// The name of a keystore in a Secret that was encoded with another password, alias or profile.
    pub(super) fn stale_in(&self, secret: &SecretView) -> Option<&'static str> {
        let jks = self.jks.as_ref().zip(secret.jks.as_ref());
        let pkcs12 = self.pkcs12.as_ref().zip(secret.pkcs12.as_ref());
        if jks.is_some_and(|(plan, store)| !jks_matches(store, &plan.alias, plan.password.reveal())) {
            return Some(objects::secret::JKS);
        }
        pkcs12
            .is_some_and(|(plan, store)| !pkcs12_matches(store, plan.profile, plan.password.reveal()))
            .then_some(objects::secret::PKCS12)
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
