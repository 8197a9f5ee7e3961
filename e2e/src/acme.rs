//! instant-acme on the bed's own HTTP client, so that a test can be an ACME client of any Pebble, wherever it runs.
//! For tests of the bed; the operator has its own transport, with all that this one lacks.

use std::pin::Pin;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use instant_acme::{Account, AccountBuilder, BodyWrapper, BytesResponse, Error, HttpClient};

use crate::{
    http::{self, Network, Trust},
    pebble::Pebble,
};

/// Begins an account at a Pebble.
pub fn account_builder(pebble: &Pebble) -> AccountBuilder {
    let transport = Transport { network: pebble.network().clone(), trust: pebble.trust().clone() };
    Account::builder_with_http(Box::new(transport))
}

#[derive(Clone, Debug)]
struct Transport {
    network: Network,
    trust: Trust,
}

impl HttpClient for Transport {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let Self { network, trust } = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(|error| Error::Other(error.into()))?.to_bytes();
            let answer = http::request(&network, Request::from_parts(parts, body), &trust)
                .await
                .map_err(|error| Error::Other(error.into()))?;
            Ok(answer.map(Full::new).into())
        })
    }
}
