//! Signatures of requests: flattened JWS (RFC 7515) with an account key, RFC 8555 section 6.2. Must not know HTTP.
//! Next: `session.rs`.

use std::fmt;

use aws_lc_rs::{digest, hmac};
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
use serde_json::{Value, json};

use crate::pki::{Curve, KeyEncoding, KeyError, KeyKind, PrivateKey, PublicComponents};

/// The key of an ACME account.
pub struct AccountKey {
    key: PrivateKey,
    jwk: Value,
    thumbprint: String,
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountKey({}, thumbprint {})", self.key.kind(), self.thumbprint)
    }
}

impl AccountKey {
    /// Wraps a private key of any kind: RSA, ECDSA, or Ed25519. Not every server accepts every kind.
    pub fn new(key: PrivateKey) -> Self {
        let jwk = jwk(&key);
        // RFC 7638 hashes only the required members, sorted and without whitespace, which is what jwk() and serde_json
        // produce.
        let digest = digest::digest(&digest::SHA256, jwk.to_string().as_bytes());
        let thumbprint = BASE64_URL_SAFE_NO_PAD.encode(digest);
        Self { key, jwk, thumbprint }
    }

    /// The JWK thumbprint (SHA-256, RFC 7638), base64url.
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Returns the key authorization for a challenge token, RFC 8555 section 8.1.
    pub fn key_authorization(&self, token: &str) -> String {
        format!("{token}.{}", self.thumbprint)
    }

    /// Returns the hash that cert-manager stores as `status.acme.lastPrivateKeyHash`: base64 of the SHA-256 over the
    /// private key in its traditional encoding (PKCS#1 for RSA).
    ///
    /// # Errors
    /// Only if the crypto library fails.
    pub fn private_key_hash(&self) -> Result<String, KeyError> {
        Self::hash_of(&self.key)
    }

    /// Returns the same hash for any private key.
    ///
    /// # Errors
    /// Only if the crypto library fails.
    pub fn hash_of(key: &PrivateKey) -> Result<String, KeyError> {
        let der = key.to_der(KeyEncoding::Traditional)?;
        Ok(BASE64_STANDARD.encode(digest::digest(&digest::SHA256, &der)))
    }

    /// Returns a signed request body. `key_id` is the account URL; without one, the public key is sent. An empty
    /// payload makes a POST-as-GET.
    pub(super) fn sign(
        &self,
        url: &str,
        nonce: &str,
        key_id: Option<&str>,
        payload: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let mut header = json!({ "alg": self.algorithm(), "nonce": nonce, "url": url });
        match key_id {
            Some(key_id) => header["kid"] = key_id.into(),
            None => header["jwk"] = self.jwk.clone(),
        }
        flattened(&header, payload, |input| self.key.sign_jws(input))
    }

    fn algorithm(&self) -> &'static str {
        match self.key.kind() {
            KeyKind::Rsa { .. } => "RS256",
            KeyKind::Ecdsa(Curve::P256) => "ES256",
            KeyKind::Ecdsa(Curve::P384) => "ES384",
            KeyKind::Ecdsa(Curve::P521) => "ES512",
            KeyKind::Ed25519 => "EdDSA",
        }
    }
}

/// Returns the JWS that binds a new account to an existing account at the CA, RFC 8555 section 7.3.4.
pub(super) fn external_account_binding(
    key: &AccountKey,
    url: &str,
    key_id: &str,
    mac: &hmac::Key,
) -> Result<Value, KeyError> {
    let header = json!({ "alg": "HS256", "kid": key_id, "url": url });
    let bound = flattened(&header, key.jwk.to_string().as_bytes(), |input| {
        Ok(hmac::sign(mac, input).as_ref().to_vec())
    })?;
    Ok(serde_json::from_slice(&bound).unwrap_or_default())
}

fn flattened(
    header: &Value,
    payload: &[u8],
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, KeyError>,
) -> Result<Vec<u8>, KeyError> {
    let protected = BASE64_URL_SAFE_NO_PAD.encode(header.to_string());
    let payload = BASE64_URL_SAFE_NO_PAD.encode(payload);
    let signature = BASE64_URL_SAFE_NO_PAD.encode(sign(format!("{protected}.{payload}").as_bytes())?);
    Ok(json!({ "protected": protected, "payload": payload, "signature": signature }).to_string().into_bytes())
}

fn jwk(key: &PrivateKey) -> Value {
    let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    match key.public_components() {
        PublicComponents::Ecdsa { curve, x, y } => {
            json!({ "crv": curve.name(), "kty": "EC", "x": text(&x), "y": text(&y) })
        }
        PublicComponents::Ed25519 { x } => json!({ "crv": "Ed25519", "kty": "OKP", "x": text(&x) }),
        PublicComponents::Rsa { n, e } => json!({ "e": text(&e), "kty": "RSA", "n": text(&n) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jwk_members_are_sorted_without_whitespace() {
        let key = PrivateKey::generate(KeyKind::Ecdsa(Curve::P256)).expect("a key");
        let text = AccountKey::new(key).jwk.to_string();
        let positions: Vec<_> =
            ["\"crv\":", "\"kty\":", "\"x\":", "\"y\":"].map(|name| text.find(name)).into();
        assert!(positions.iter().all(Option::is_some) && positions.is_sorted(), "{text}");
        assert!(!text.contains(' '));
    }

    /// RFC 8037 appendix A.3.
    #[test]
    fn thumbprint_matches_the_example_of_the_rfc() {
        let jwk =
            json!({ "crv": "Ed25519", "kty": "OKP", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
        let digest = digest::digest(&digest::SHA256, jwk.to_string().as_bytes());
        assert_eq!(BASE64_URL_SAFE_NO_PAD.encode(digest), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    /// Every kind of key signs with its JWS algorithm. ECDSA signatures are the two numbers at full length, RFC 7518
    /// section 3.4.
    #[test]
    fn signatures_verify_with_the_public_key() {
        use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
        let cases: [(KeyKind, &str, &dyn VerificationAlgorithm); 5] = [
            (KeyKind::Rsa { bits: 2048 }, "RS256", &signature::RSA_PKCS1_2048_8192_SHA256),
            (KeyKind::Ecdsa(Curve::P256), "ES256", &signature::ECDSA_P256_SHA256_FIXED),
            (KeyKind::Ecdsa(Curve::P384), "ES384", &signature::ECDSA_P384_SHA384_FIXED),
            (KeyKind::Ecdsa(Curve::P521), "ES512", &signature::ECDSA_P521_SHA512_FIXED),
            (KeyKind::Ed25519, "EdDSA", &signature::ED25519),
        ];
        for (kind, name, algorithm) in cases {
            let key = AccountKey::new(PrivateKey::generate(kind).expect("a key"));
            let signed = key.sign("https://acme.example.test/x", "nonce", None, b"{}").expect("a signature");
            let signed: Value = serde_json::from_slice(&signed).expect("JSON");
            let part = |name: &str| signed[name].as_str().unwrap_or_default().to_owned();
            let decode = |text: String| BASE64_URL_SAFE_NO_PAD.decode(text).expect("base64url");
            let header: Value = serde_json::from_slice(&decode(part("protected"))).expect("JSON");
            assert_eq!((header["alg"].as_str(), &header["jwk"]), (Some(name), &key.jwk));
            let input = format!("{}.{}", part("protected"), part("payload"));
            UnparsedPublicKey::new(algorithm, key.key.public_key_bytes())
                .verify(input.as_bytes(), &decode(part("signature")))
                .unwrap_or_else(|_| panic!("{kind}: the signature is wrong"));
        }
    }

    #[test]
    fn account_key_is_never_printed() {
        let key = PrivateKey::generate(KeyKind::Ed25519).expect("a key");
        let printed = format!("{:?}", AccountKey::new(key));
        assert!(printed.starts_with("AccountKey(Ed25519, thumbprint "), "{printed}");
    }
}
