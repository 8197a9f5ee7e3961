//! instant-acme over our own requests: what it drives is signed with the account's real key.
//!
//! It knows keys of one kind, has no deadlines, and keeps status and headers to itself. So it is given a key that
//! nobody else has and answers out of memory where it asks for nonces and the directory; what it signs is signed anew.

use std::{
    pin::Pin,
    sync::{Arc, LazyLock, Mutex},
};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, StatusCode, header::LOCATION};
use instant_acme::{Account, BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{AcmeError, AcmeResponse, Directory, Session};
use crate::{
    pki::{Curve, KeyEncoding, KeyKind, PrivateKey},
    sync::lock,
};

/// The key that instant-acme signs with: what it signs goes nowhere.
static UNUSED_KEY: LazyLock<Option<Vec<u8>>> = LazyLock::new(|| {
    let key = PrivateKey::generate(KeyKind::Ecdsa(Curve::P256)).ok()?;
    Some(key.to_der(KeyEncoding::Pkcs8).ok()?.to_vec())
});

/// instant-acme's account, which asks as `session` does, and what came of it.
pub(super) struct InstantAcmeAdapter {
    pub(super) account: Account,
    outcome: Arc<Mutex<Option<Result<AcmeResponse, AcmeError>>>>,
}

impl InstantAcmeAdapter {
    /// Lends a session to instant-acme. `more` is added to what it posts.
    pub(super) async fn new(session: &Session, more: Map<String, Value>) -> Result<Self, AcmeError> {
        let directory = session.server().directory().await?;
        let outcome = Arc::default();
        let transport =
            Transport { session: session.clone(), directory, more, outcome: Arc::clone(&outcome) };
        let key = UNUSED_KEY.as_deref().ok_or(crate::pki::KeyError::Unspecified)?;
        let account = Account::builder_with_http(Box::new(transport))
            .from_parts(
                session.account_url().unwrap_or_default().to_owned(),
                PrivatePkcs8KeyDer::from(key),
                session.server().directory_url().to_owned(),
            )
            .await
            .map_err(|error| unexpected(session, &error))?;
        Ok(Self { account, outcome })
    }

    /// What the server answered to the one request that was made, or why it did not. `told` is what instant-acme makes
    /// of it, which counts only where no request was made at all.
    pub(super) fn response<T>(
        &self,
        session: &Session,
        result: Result<T, Error>,
    ) -> Result<AcmeResponse, AcmeError> {
        let outcome = lock(&self.outcome).take();
        match (outcome, result) {
            (Some(outcome), _) => outcome?.into_result(),
            (None, Err(error)) => Err(unexpected(session, &error)),
            (None, Ok(_)) => Err(AcmeError::Unsupported("what was asked for".to_owned())),
        }
    }
}

fn unexpected(session: &Session, error: &Error) -> AcmeError {
    match error {
        Error::Unsupported(what) => AcmeError::Unsupported((*what).to_owned()),
        _ => AcmeError::Protocol {
            url: session.server().directory_url().to_owned(),
            status: StatusCode::OK,
            retry_after: None,
            detail: error.to_string(),
        },
    }
}

struct Transport {
    session: Session,
    directory: Arc<Directory>,
    more: Map<String, Value>,
    outcome: Arc<Mutex<Option<Result<AcmeResponse, AcmeError>>>>,
}

/// What instant-acme posts: a flattened JWS, RFC 7515 section 7.2.2.
#[derive(Deserialize)]
struct Signed {
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
        let (session, more, outcome) = (self.session.clone(), self.more.clone(), Arc::clone(&self.outcome));
        Box::pin(async move {
            let answer = if method == Method::GET {
                session.server().get_unsigned(&url).await
            } else {
                let body = request.into_body().collect().await.map_err(|error| Error::Other(error.into()))?;
                let signed: Signed = serde_json::from_slice(&body.to_bytes())?;
                let payload = BASE64_URL_SAFE_NO_PAD
                    .decode(signed.payload)
                    .map_err(|error| Error::Other(error.into()))?;
                session.send(&url, &merged(payload, more)).await
            };
            let response =
                answer.as_ref().map(response).map_err(|error| Error::Other(error.to_string().into()));
            *lock(&outcome) = Some(answer);
            response
        })
    }
}

/// A payload with more members, where it has any.
fn merged(payload: Vec<u8>, more: Map<String, Value>) -> Vec<u8> {
    match serde_json::from_slice::<Value>(&payload) {
        Ok(Value::Object(mut members)) if !more.is_empty() => {
            members.extend(more);
            Value::Object(members).to_string().into_bytes()
        }
        _ => payload,
    }
}

/// A nonce that is never sent: the request is signed with another one.
fn nonce_response() -> BytesResponse {
    let mut response = Response::new(Full::new(Bytes::new()));
    response.headers_mut().insert("replay-nonce", hyper::header::HeaderValue::from_static("unused"));
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

fn response(answer: &AcmeResponse) -> BytesResponse {
    let mut response = Response::new(Full::new(answer.body.clone()));
    *response.status_mut() = answer.status;
    if let Some(location) = answer.location.as_deref().and_then(|location| location.parse().ok()) {
        response.headers_mut().insert(LOCATION, location);
    }
    response.headers_mut().insert("replay-nonce", hyper::header::HeaderValue::from_static("unused"));
    // instant-acme wants one where the RFC does not need it; what the server said stands in the answer.
    response.headers_mut().insert("retry-after", hyper::header::HeaderValue::from_static("0"));
    response.into()
}
