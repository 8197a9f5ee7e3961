//! An adapter that runs instant-acme over our own [`Session`], so that its requests are signed with the real account
//! key.
//!
//! instant-acme signs with P-256 only, has no deadlines, and hides the status and the headers of responses (see ADR 3).
//! It therefore gets a throw-away key, and its requests for nonces and the directory are answered from memory. The
//! payload of each signed request is taken out of its JWS and signed again by the session. Next: `session.rs`.

use std::{
    pin::Pin,
    sync::{Arc, LazyLock, Mutex},
};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    header::{HeaderValue, LOCATION, RETRY_AFTER},
};
use instant_acme::{Account, BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{AcmeError, AcmeResponse, Directory, Session};
use crate::{
    pki::{Curve, KeyEncoding, KeyError, KeyKind, PrivateKey},
    sync::lock,
};

/// The header that carries nonces, RFC 8555 section 6.5.1.
const REPLAY_NONCE: &str = "replay-nonce";

/// The key that instant-acme signs with. Its signatures are never sent.
static THROW_AWAY_KEY: LazyLock<Option<Vec<u8>>> = LazyLock::new(|| {
    let key = PrivateKey::generate(KeyKind::Ecdsa(Curve::P256)).ok()?;
    Some(key.to_der(KeyEncoding::Pkcs8).ok()?.to_vec())
});

/// An account of instant-acme that sends through a [`Session`], and the outcome of its last request.
pub(super) struct InstantAcmeAdapter {
    pub(super) account: Account,
    outcome: Arc<Mutex<Option<Result<AcmeResponse, AcmeError>>>>,
}

impl InstantAcmeAdapter {
    /// Wraps a session. `extra_members` are added to each payload.
    pub(super) async fn new(session: &Session, extra_members: Map<String, Value>) -> Result<Self, AcmeError> {
        let directory = session.server().directory().await?;
        let outcome = Arc::default();
        let transport =
            Transport { session: session.clone(), directory, extra_members, outcome: Arc::clone(&outcome) };
        let key = THROW_AWAY_KEY.as_deref().ok_or(KeyError::Unspecified)?;
        let account = Account::builder_with_http(Box::new(transport))
            .from_parts(
                session.account_url().unwrap_or_default().to_owned(),
                PrivatePkcs8KeyDer::from(key),
                session.server().directory_url().to_owned(),
            )
            .await
            .map_err(|error| local_error(session, &error))?;
        Ok(Self { account, outcome })
    }

    /// Returns the server's response to the request, or the error it failed with. `result` is the view of instant-acme,
    /// which has less detail and is used only if it failed before sending a request.
    pub(super) fn response<T>(
        &self,
        session: &Session,
        result: Result<T, Error>,
    ) -> Result<AcmeResponse, AcmeError> {
        let outcome = lock(&self.outcome).take();
        match (outcome, result) {
            (Some(outcome), _) => outcome?.into_result(),
            (None, Err(error)) => Err(local_error(session, &error)),
            (None, Ok(_)) => Err(AcmeError::Unsupported("this request".to_owned())),
        }
    }
}

/// Converts an error that instant-acme reports without having sent a request.
fn local_error(session: &Session, error: &Error) -> AcmeError {
    match error {
        Error::Unsupported(feature) => AcmeError::Unsupported((*feature).to_owned()),
        _ => AcmeError::Protocol {
            url: session.server().directory_url().to_owned(),
            status: StatusCode::OK,
            retry_after: None,
            detail: error.to_string(),
        },
    }
}

/// The HTTP client of instant-acme.
struct Transport {
    session: Session,
    directory: Arc<Directory>,
    extra_members: Map<String, Value>,
    outcome: Arc<Mutex<Option<Result<AcmeResponse, AcmeError>>>>,
}

/// The body of a signed request, of which only the payload is used: a flattened JWS, RFC 7515 section 7.2.2.
#[derive(Deserialize)]
struct FlattenedJws {
    payload: String,
}

impl HttpClient for Transport {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let url = request.uri().to_string();
        let method = request.method().clone();
        if method == Method::HEAD {
            return Box::pin(async { Ok(nonce_response()) });
        }
        if method == Method::GET && url == self.session.server().directory_url() {
            let directory = directory_response(&self.directory);
            return Box::pin(async { directory });
        }
        let (session, extra_members) = (self.session.clone(), self.extra_members.clone());
        let outcome = Arc::clone(&self.outcome);
        Box::pin(async move {
            let result = if method == Method::GET {
                session.server().get_unsigned(&url).await
            } else {
                let body = request.into_body().collect().await.map_err(|error| Error::Other(error.into()))?;
                let signed: FlattenedJws = serde_json::from_slice(&body.to_bytes())?;
                let payload = BASE64_URL_SAFE_NO_PAD
                    .decode(signed.payload)
                    .map_err(|error| Error::Other(error.into()))?;
                session.send(&url, &with_members(payload, extra_members)).await
            };
            let response =
                result.as_ref().map(bytes_response).map_err(|error| Error::Other(error.to_string().into()));
            *lock(&outcome) = Some(result);
            response
        })
    }
}

/// Adds members to a JSON object. Other payloads stay unchanged.
fn with_members(payload: Vec<u8>, extra_members: Map<String, Value>) -> Vec<u8> {
    match serde_json::from_slice::<Value>(&payload) {
        Ok(Value::Object(mut members)) if !extra_members.is_empty() => {
            members.extend(extra_members);
            Value::Object(members).to_string().into_bytes()
        }
        _ => payload,
    }
}

/// A response with a placeholder nonce: the session signs with real ones.
fn nonce_response() -> BytesResponse {
    let mut response = Response::new(Full::new(Bytes::new()));
    response.headers_mut().insert(REPLAY_NONCE, HeaderValue::from_static("unused"));
    response.into()
}

fn directory_response(directory: &Directory) -> Result<BytesResponse, Error> {
    let Directory { new_nonce, new_account, new_order, revoke_cert, renewal_info, meta } = directory;
    let directory = serde_json::json!({
        "newNonce": new_nonce,
        "newAccount": new_account,
        "newOrder": new_order,
        "revokeCert": revoke_cert,
        "renewalInfo": renewal_info,
        "meta": { "profiles": meta.profiles },
    });
    Ok(Response::new(Full::new(Bytes::from(serde_json::to_vec(&directory)?))).into())
}

fn bytes_response(response: &AcmeResponse) -> BytesResponse {
    let mut bytes = Response::new(Full::new(response.body.clone()));
    *bytes.status_mut() = response.status;
    if let Some(location) = response.location.as_deref().and_then(|location| location.parse().ok()) {
        bytes.headers_mut().insert(LOCATION, location);
    }
    bytes.headers_mut().insert(REPLAY_NONCE, HeaderValue::from_static("unused"));
    // instant-acme requires this header where the RFC makes it optional. Callers use the value in AcmeResponse instead.
    bytes.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("0"));
    bytes.into()
}
