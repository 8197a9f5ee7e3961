//! Java's own key store, version 2. Its cipher is weak and its digest is SHA-1; both are what the form is.
//!
//! Written down in the sources of OpenJDK, `sun.security.provider.{JavaKeyStore, KeyProtector}`.

use aws_lc_rs::{digest, rand};
use der::{
    Encode, Sequence,
    asn1::{Null, OctetStringRef},
};
use jiff::Timestamp;
use pkcs8::{AlgorithmIdentifierRef, ObjectIdentifier};
use zeroize::Zeroizing;

use super::KeystoreError;

const MAGIC: u32 = 0xfeed_feed;
const VERSION: u32 = 2;
const TAG_KEY: u32 = 1;
const CERTIFICATE_TYPE: &str = "X.509";
/// What is hashed before the content, so that the digest is of a key store and of nothing else.
const WHITENER: &[u8] = b"Mighty Aphrodite";
/// Sun's cipher for keys.
const KEY_PROTECTOR: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.42.2.17.1.1");
const SALT_LENGTH: usize = 20;

/// `EncryptedPrivateKeyInfo`, RFC 5958 section 3.
#[derive(Sequence)]
struct EncryptedKey<'a> {
    algorithm: AlgorithmIdentifierRef<'a>,
    data: &'a OctetStringRef,
}

/// Writes entries, then the digest.
pub(super) struct Writer {
    /// UTF-16, big-endian, as Java has it.
    password: Zeroizing<Vec<u8>>,
    milliseconds: i64,
    entries: Vec<u8>,
    count: u32,
}

impl Writer {
    pub(super) fn new(password: &str, now: Timestamp) -> Self {
        let password = Zeroizing::new(password.encode_utf16().flat_map(u16::to_be_bytes).collect());
        Self { password, milliseconds: now.as_millisecond(), entries: Vec::new(), count: 0 }
    }

    /// A private key (PKCS#8) with its chain, the leaf first.
    pub(super) fn add_key(
        mut self,
        alias: &str,
        key: &[u8],
        chain: &[Vec<u8>],
    ) -> Result<Self, KeystoreError> {
        self.begin_entry(TAG_KEY, alias)?;
        let encrypted = self.encrypt(key)?;
        self.write_bytes(&encrypted)?;
        self.write_length(chain.len())?;
        for certificate in chain {
            self.write_certificate(certificate)?;
        }
        Ok(self)
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let mut store = [MAGIC, VERSION, self.count].map(u32::to_be_bytes).concat();
        store.extend(&self.entries);
        let digest = sha1(&[&self.password, WHITENER, &store]);
        store.extend(digest.as_ref());
        store
    }

    fn begin_entry(&mut self, tag: u32, alias: &str) -> Result<(), KeystoreError> {
        self.count += 1;
        self.entries.extend(tag.to_be_bytes());
        // Java compares aliases in lower case.
        self.write_text(&alias.to_lowercase())?;
        self.entries.extend(self.milliseconds.to_be_bytes());
        Ok(())
    }

    fn write_certificate(&mut self, certificate: &[u8]) -> Result<(), KeystoreError> {
        self.write_text(CERTIFICATE_TYPE)?;
        self.write_bytes(certificate)
    }

    /// Sun's cipher: the key is mixed with a chain of digests over password and salt, and its own digest follows.
    fn encrypt(&self, key: &[u8]) -> Result<Vec<u8>, KeystoreError> {
        let mut salt = [0; SALT_LENGTH];
        rand::fill(&mut salt).map_err(|_| KeystoreError::Encode("there is no randomness".to_owned()))?;
        let mut data = salt.to_vec();
        let mut pad = salt.to_vec();
        for block in key.chunks(SALT_LENGTH) {
            pad = sha1(&[&self.password, &pad]).as_ref().to_vec();
            data.extend(block.iter().zip(&pad).map(|(byte, mask)| byte ^ mask));
        }
        data.extend(sha1(&[&self.password, key]).as_ref());
        let algorithm = AlgorithmIdentifierRef { oid: KEY_PROTECTOR, parameters: Some(Null.into()) };
        let encrypted = OctetStringRef::new(&data).map(|data| EncryptedKey { algorithm, data });
        encrypted
            .and_then(|encrypted| encrypted.to_der())
            .map_err(|error| KeystoreError::Encode(error.to_string()))
    }

    /// Length and bytes, as `DataOutputStream.writeInt` and `write`.
    fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), KeystoreError> {
        self.write_length(bytes.len())?;
        self.entries.extend(bytes);
        Ok(())
    }

    fn write_length(&mut self, number: usize) -> Result<(), KeystoreError> {
        let number = u32::try_from(number).map_err(|_| too_long())?;
        self.entries.extend(number.to_be_bytes());
        Ok(())
    }

    /// As `DataOutputStream.writeUTF`. Java's own UTF-8 differs beyond the first plane, which no alias needs.
    fn write_text(&mut self, text: &str) -> Result<(), KeystoreError> {
        if let Some(character) =
            text.chars().find(|character| *character == '\0' || u32::from(*character) > 0xffff)
        {
            return Err(KeystoreError::Encode(format!("an alias can't have the character {character:?}")));
        }
        let length = u16::try_from(text.len()).map_err(|_| too_long())?;
        self.entries.extend(length.to_be_bytes());
        self.entries.extend(text.as_bytes());
        Ok(())
    }
}

fn too_long() -> KeystoreError {
    KeystoreError::Encode("what it shall hold is too long".to_owned())
}

fn sha1(parts: &[&[u8]]) -> digest::Digest {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    for part in parts {
        context.update(part);
    }
    context.finish()
}
