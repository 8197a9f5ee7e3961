//! The Java keystore format (JKS), version 2. The format prescribes a weak cipher and SHA-1.
//!
//! It is specified only by OpenJDK's sources, `sun.security.provider.{JavaKeyStore, KeyProtector}`.

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
const TAG_TRUSTED: u32 = 2;
const CERTIFICATE_TYPE: &str = "X.509";
/// A constant of the format that is hashed before the content.
const WHITENER: &[u8] = b"Mighty Aphrodite";
/// The object identifier of Sun's cipher for keys.
const KEY_PROTECTOR: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.42.2.17.1.1");
const SALT_LENGTH: usize = 20;

/// `EncryptedPrivateKeyInfo`, RFC 5958 section 3.
#[derive(Sequence)]
struct EncryptedKey<'a> {
    algorithm: AlgorithmIdentifierRef<'a>,
    data: &'a OctetStringRef,
}

/// Writes the entries of a keystore, then its digest.
pub(super) struct Writer {
    /// UTF-16, big-endian, as in Java.
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

    /// Adds a private key (PKCS#8 DER) with its chain (DER, leaf first).
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

    /// Adds certificates (DER) that the store's users trust, by their aliases.
    pub(super) fn add_trusted<'a>(
        mut self,
        certificates: impl Iterator<Item = (String, &'a Vec<u8>)>,
    ) -> Result<Self, KeystoreError> {
        for (alias, certificate) in certificates {
            self.begin_entry(TAG_TRUSTED, &alias)?;
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
        // Java compares aliases in lowercase.
        self.write_text(&alias.to_lowercase())?;
        self.entries.extend(self.milliseconds.to_be_bytes());
        Ok(())
    }

    fn write_certificate(&mut self, certificate: &[u8]) -> Result<(), KeystoreError> {
        self.write_text(CERTIFICATE_TYPE)?;
        self.write_bytes(certificate)
    }

    /// Encrypts a key with Sun's cipher: XOR with a chain of digests over password and salt, followed by a digest of
    /// the key.
    fn encrypt(&self, key: &[u8]) -> Result<Vec<u8>, KeystoreError> {
        let mut salt = [0; SALT_LENGTH];
        rand::fill(&mut salt).map_err(|_| KeystoreError::Encode("no randomness is available".to_owned()))?;
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

    /// Writes length and bytes, like `DataOutputStream.writeInt` and `write`.
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

    /// Writes a text like `DataOutputStream.writeUTF`. Java's modified UTF-8 differs from UTF-8 for NUL and outside of
    /// the Basic Multilingual Plane, so those characters are rejected.
    fn write_text(&mut self, text: &str) -> Result<(), KeystoreError> {
        if let Some(character) =
            text.chars().find(|character| *character == '\0' || u32::from(*character) > 0xffff)
        {
            return Err(KeystoreError::Encode(format!("an alias can't contain the character {character:?}")));
        }
        let length = u16::try_from(text.len()).map_err(|_| too_long())?;
        self.entries.extend(length.to_be_bytes());
        self.entries.extend(text.as_bytes());
        Ok(())
    }
}

/// Whether a keystore has the digest that a password leads to, and its first key has an alias. Other entries may come first, because
/// cert-manager writes them in any order.
pub(super) fn matches(store: &[u8], alias: &str, password: &str) -> bool {
    let writer = Writer::new(password, Timestamp::UNIX_EPOCH);
    store.split_last_chunk::<SALT_LENGTH>().is_some_and(|(content, digest)| {
        key_alias(content).is_some_and(|found| found == alias.to_lowercase().as_bytes())
            && sha1(&[&writer.password, WHITENER, content]).as_ref() == digest
    })
}

/// The alias of the first key in a keystore.
fn key_alias(content: &[u8]) -> Option<&[u8]> {
    // The magic number, the version, and the number of entries.
    let mut rest = content.get(12..)?;
    loop {
        let tag = take_number(&mut rest)?;
        let alias = take_text(&mut rest)?;
        match tag {
            TAG_KEY => return Some(alias),
            TAG_TRUSTED => {
                // The creation time.
                rest = rest.get(8..)?;
                take_text(&mut rest)?;
                let length = usize::try_from(take_number(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            _ => return None,
        }
    }
}

fn take_number(rest: &mut &[u8]) -> Option<u32> {
    let (number, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u32::from_be_bytes(*number))
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk()?;
    let (text, after) = after.split_at_checked(u16::from_be_bytes(*length).into())?;
    *rest = after;
    Some(text)
}

fn too_long() -> KeystoreError {
    KeystoreError::Encode("an entry is too long".to_owned())
}

fn sha1(parts: &[&[u8]]) -> digest::Digest {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    for part in parts {
        context.update(part);
    }
    context.finish()
}
