//! The objects of a kind, read in pages that take a bounded amount of memory, however large the objects are.
//!
//! Knows how a list is continued; must not keep objects, which is what a watch is for. Next: `controllers/certificate/start.rs`, which
//! reads Secrets by it.

use std::{error::Error, marker::PhantomData, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::StatusCode;
use kube::{
    Api, Client, Resource,
    api::{ListParams, Request},
    client::Body,
    core::ListMeta,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio::time::timeout;

/// The most objects of a page.
const MOST_OBJECTS: u32 = 200;

/// The most bytes of a page. Any one object is smaller: etcd accepts 1.5 MB.
const MOST_BYTES: usize = 4 << 20;

/// How long a page may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Why a page could not be read. The list can't be continued after it.
#[derive(Debug, thiserror::Error)]
pub enum ReadPage {
    /// The request could not be sent.
    #[error(transparent)]
    Send(#[from] kube::Error),
    /// The request could not be built.
    #[error("failed to build the request for a page")]
    Build(#[source] Box<dyn Error + Send + Sync>),
    /// The API server rejects it: the position in the list is too old, for example.
    #[error("the API server responds with status {0}")]
    Rejected(StatusCode),
    /// The connection failed, or a single object is larger than a page.
    #[error("failed to receive a page")]
    Receive(#[source] Box<dyn Error + Send + Sync>),
    /// It is not a list.
    #[error("failed to parse a page")]
    Parse(#[from] serde_json::Error),
    /// It took longer than 30 seconds.
    #[error("failed to read a page within {} s", DEADLINE.as_secs())]
    Deadline,
}

/// A list that is read page by page.
pub struct Pages<K> {
    client: Client,
    request: Request,
    labels: String,
    most_bytes: usize,
    limit: u32,
    next: Next,
    kind: PhantomData<fn() -> K>,
}

/// Where the list continues.
enum Next {
    Begin,
    After(String),
    End,
}

/// A page, whose objects are parsed one by one.
pub struct Page<K> {
    text: Bytes,
    kind: PhantomData<fn() -> K>,
}

#[derive(Deserialize)]
struct Items<'a> {
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Head {
    metadata: ListMeta,
}

impl<K: Resource + DeserializeOwned> Pages<K> {
    /// The objects that have labels, by a selector.
    pub fn new(api: Api<K>, labels: String) -> Self {
        let request = Request::new(api.resource_url());
        let (most_bytes, limit) = (MOST_BYTES, MOST_OBJECTS);
        Self {
            client: api.into_client(),
            request,
            labels,
            most_bytes,
            limit,
            next: Next::Begin,
            kind: PhantomData,
        }
    }

    /// The next page; `None` after the last one. If it is too large, fewer objects are requested.
    pub async fn next(&mut self) -> Result<Option<Page<K>>, ReadPage> {
        while !matches!(self.next, Next::End) {
            let Some(text) = timeout(DEADLINE, self.request()).await.map_err(|_| ReadPage::Deadline)?? else {
                self.limit = (self.limit / 8).max(1);
                continue;
            };
            let Head { metadata } = serde_json::from_slice(&text)?;
            self.next = match metadata.continue_.filter(|position| !position.is_empty()) {
                Some(position) => Next::After(position),
                None => Next::End,
            };
            self.limit = (self.limit * 2).min(MOST_OBJECTS);
            return Ok(Some(Page { text, kind: PhantomData }));
        }
        Ok(None)
    }

    /// The text of the next page; `None` if it is too large, and may have fewer objects.
    async fn request(&self) -> Result<Option<Bytes>, ReadPage> {
        let mut params = ListParams::default().labels(&self.labels).limit(self.limit);
        if let Next::After(position) = &self.next {
            params = params.continue_token(position);
        }
        let request = self.request.list(&params).map_err(|error| ReadPage::Build(Box::new(error)))?;
        let response = self.client.send(request.map(Body::from)).await?;
        if !response.status().is_success() {
            return Err(ReadPage::Rejected(response.status()));
        }
        match Limited::new(response.into_body(), self.most_bytes).collect().await {
            Ok(body) => Ok(Some(body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() && self.limit > 1 => Ok(None),
            Err(error) => Err(ReadPage::Receive(error)),
        }
    }
}

impl<K: DeserializeOwned> Page<K> {
    /// The objects, each parsed when it is taken.
    ///
    /// # Errors
    /// The page is not a list.
    pub fn objects(&self) -> serde_json::Result<impl ExactSizeIterator<Item = serde_json::Result<K>>> {
        let Items { items } = serde_json::from_slice(&self.text)?;
        Ok(items.into_iter().map(|item| serde_json::from_str(item.get())))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        sync::{Arc, Mutex},
    };

    use axum::{Router, routing::get};
    use hyper::Uri;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{Config, ResourceExt};
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    use super::*;

    type Limits = Arc<Mutex<Vec<usize>>>;

    /// Serves objects with so many bytes each as an API server does, and notes the limits of the requests.
    async fn pages(sizes: Vec<usize>, most_bytes: usize) -> anyhow::Result<(Pages<ConfigMap>, Limits)> {
        let limits = Limits::default();
        let noted = Arc::clone(&limits);
        let list = move |uri: Uri| async move {
            let parameters = uri.query().unwrap_or_default().split('&');
            let query: HashMap<_, _> = parameters.filter_map(|it| it.split_once('=')).collect();
            let number = |key: &str| query.get(key).and_then(|it| it.parse::<usize>().ok());
            let (first, limit) = (number("continue").unwrap_or(0), number("limit").unwrap_or(usize::MAX));
            noted.lock().expect("not poisoned").push(limit);
            let end = first.saturating_add(limit).min(sizes.len());
            let items: Vec<Value> = (first..end)
                .map(|it| json!({ "metadata": { "name": format!("{it}") }, "data": { "x": "x".repeat(sizes[it]) } }))
                .collect();
            let position = if end < sizes.len() { end.to_string() } else { String::new() };
            json!({ "kind": "ConfigMapList", "metadata": { "continue": position }, "items": items })
                .to_string()
        };
        let router = Router::new().route("/api/v1/configmaps", get(list));
        let server = TcpListener::bind("127.0.0.1:0").await?;
        let config = Config::new(format!("http://{}", server.local_addr()?).parse()?);
        tokio::spawn(async move { axum::serve(server, router).await });
        let api = Api::all(Client::try_from(config)?);
        Ok((Pages { most_bytes, ..Pages::new(api, "a=b".to_owned()) }, limits))
    }

    async fn names(pages: &mut Pages<ConfigMap>) -> anyhow::Result<Vec<String>> {
        let mut names = Vec::new();
        while let Some(page) = pages.next().await? {
            for object in page.objects()? {
                names.push(object?.name_any());
            }
        }
        Ok(names)
    }

    #[tokio::test]
    async fn pages_are_every_object_once() -> anyhow::Result<()> {
        let (mut pages, limits) = pages(vec![10; 450], MOST_BYTES).await?;
        let expected: Vec<_> = (0..450).map(|it| it.to_string()).collect();
        assert_eq!(names(&mut pages).await?, expected);
        assert_eq!(*limits.lock().expect("not poisoned"), [200, 200, 200]);
        assert!(pages.next().await?.is_none(), "it ends once");
        Ok(())
    }

    /// A tenant can create hundreds of Secrets with a megabyte each.
    #[tokio::test]
    async fn large_objects_make_pages_smaller() -> anyhow::Result<()> {
        let mut sizes = vec![10; 300];
        sizes[..20].fill(40_000);
        let (mut pages, limits) = pages(sizes, 100_000).await?;
        assert_eq!(names(&mut pages).await?.len(), 300);
        let limits = limits.lock().expect("not poisoned").clone();
        assert_eq!(limits[..4], [200, 25, 3, 1], "a page is larger than its limit");
        assert_eq!(limits.last(), Some(&200), "pages of small objects are large again: {limits:?}");
        assert!(limits.len() < 60, "{limits:?}");
        Ok(())
    }

    #[tokio::test]
    async fn object_larger_than_a_page_ends_the_list() -> anyhow::Result<()> {
        let (mut pages, _) = pages(vec![10, 2000, 10], 1000).await?;
        let outcome = names(&mut pages).await;
        assert!(outcome.is_err_and(|error| error.downcast_ref::<ReadPage>().is_some()));
        Ok(())
    }
}
