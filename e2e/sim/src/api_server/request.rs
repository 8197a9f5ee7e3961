//! What a request asks for: its path, its query, and its formats.
//!
//! Knows HTTP; must not know how objects are changed. Next: `write.rs`.

use hyper::{
    Method, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap},
    http::request::Parts,
};
use serde_json::{Value, json};

use super::{
    answer::{Answer, Failure},
    kinds::Kind,
    selector::Selector,
    state::{Key, State},
    watch::{Form, Scope},
    write::{self, Options, Patch, Writer},
};

/// What a path leads to.
struct Target {
    /// The number of the kind.
    kind: usize,
    namespace: Option<String>,
    name: Option<String>,
    is_status: bool,
}

/// The parameters of a query.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let decoded = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), decoded(value))
        });
        Self(decoded.collect())
    }

    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    fn is_set(&self, name: &str) -> bool {
        ["true", "1"].contains(&self.get(name))
    }
}

/// Percent-decodes a value.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let digits = String::from_utf8_lossy(&digits).into_owned();
                bytes.extend(u8::from_str_radix(&digits, 16));
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Handles a request.
pub(super) fn handle(state: &mut State, head: &Parts, body: &[u8]) -> Result<Answer, Failure> {
    let path = head.uri.path();
    let Some(target) = target(state, path) else {
        let is_known = |kind: &Kind| path.starts_with(&format!("{}/", kind.root()));
        return if state.kinds.iter().any(is_known) {
            Err(Failure::unknown_kind())
        } else {
            Ok(Answer::UnknownPath)
        };
    };
    let query = Query::parse(head.uri.query().unwrap_or_default());
    let form = form(&head.headers);
    let scope = |selector| Scope { kind: target.kind, namespace: target.namespace.clone(), selector, form };
    let Some(name) = &target.name else {
        let selector = Selector::parse(query.get("labelSelector"), query.get("fieldSelector"))?;
        let scope = scope(selector);
        return match head.method {
            Method::GET if query.is_set("watch") => watch(state, &scope, &query),
            Method::GET => list(state, &scope, &query),
            Method::POST => {
                let object = object_of(body)?;
                let namespace = target.namespace.as_deref().unwrap_or_default();
                let created = write::create(state, target.kind, namespace, object, &writer(head, &query))?;
                Ok(Answer::Object(StatusCode::CREATED, form.of(&created)))
            }
            Method::DELETE => {
                let deleted = list(state, &scope, &query)?;
                let keys = state.select(&scope).into_iter().map(|(key, _)| key.clone());
                for key in keys.collect::<Vec<_>>() {
                    state.mark_or_remove(&key);
                }
                Ok(deleted)
            }
            _ => Err(Failure::method_not_allowed()),
        };
    };
    let namespace = target.namespace.clone().unwrap_or_default();
    let key = Key { kind: target.kind, namespace, name: name.clone() };
    let options = Options { writer: writer(head, &query), is_status: target.is_status };
    match head.method {
        Method::GET => Ok(Answer::ok(form.of(&state.get(&key)?.object))),
        Method::PUT => {
            let updated = write::update(state, &key, object_of(body)?, &options)?;
            Ok(Answer::ok(form.of(&updated)))
        }
        Method::PATCH => {
            let change = patch(&head.headers, body, &query)?;
            let (object, is_new) = write::patch(state, &key, change, &options)?;
            let code = if is_new { StatusCode::CREATED } else { StatusCode::OK };
            Ok(Answer::Object(code, form.of(&object)))
        }
        Method::DELETE if !target.is_status => write::delete(state, &key, body),
        _ => Err(Failure::method_not_allowed()),
    }
}

/// Finds what a path leads to.
fn target(state: &State, path: &str) -> Option<Target> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version, rest) = match segments.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        ["namespaces", _, "status"] => (None, rest),
        ["namespaces", namespace, inside @ ..] if !inside.is_empty() => (Some(*namespace), inside),
        rest => (None, rest),
    };
    let (plural, name, is_status) = match rest {
        [plural] => (plural, None, false),
        [plural, name] => (plural, Some(*name), false),
        [plural, name, "status"] => (plural, Some(*name), true),
        _ => return None,
    };
    let kind = state
        .kinds
        .iter()
        .position(|kind| kind.group == group && kind.version == version && kind.plural == **plural)?;
    let known = &state.kinds[kind];
    if (is_status && !known.has_status) || (name.is_some() && known.is_namespaced != namespace.is_some()) {
        return None;
    }
    let [namespace, name] = [namespace, name].map(|it| it.map(ToOwned::to_owned));
    Some(Target { kind, namespace, name, is_status })
}

/// In which form a client wants objects.
fn form(headers: &HeaderMap) -> Form {
    let accepted = headers.get(ACCEPT).and_then(|it| it.to_str().ok()).unwrap_or_default();
    if accepted.contains("as=PartialObjectMetadata") { Form::Metadata } else { Form::Whole }
}

fn object_of(body: &[u8]) -> Result<Value, Failure> {
    let object: Option<Value> = serde_json::from_slice(body).ok();
    object.filter(Value::is_object).ok_or_else(|| Failure::bad_request("the body is not an object"))
}

/// Who writes: the parameter, or the client's name.
fn writer(head: &Parts, query: &Query) -> Writer {
    let agent = head.headers.get("user-agent").and_then(|it| it.to_str().ok()).unwrap_or_default();
    let name = match query.get("fieldManager") {
        "" => agent.split('/').next().unwrap_or_default(),
        name => name,
    };
    let name = if name.is_empty() { "unknown" } else { name };
    Writer { name: name.to_owned(), is_forced: query.is_set("force") }
}

fn patch(headers: &HeaderMap, body: &[u8], query: &Query) -> Result<Patch, Failure> {
    let format = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
    match format {
        "application/merge-patch+json" => Ok(Patch::Merge(object_of(body)?)),
        "application/json-patch+json" => {
            let operations = serde_json::from_slice(body);
            Ok(Patch::Json(operations.map_err(|error| Failure::bad_request(error.to_string()))?))
        }
        "application/apply-patch+yaml" => {
            if query.get("fieldManager").is_empty() {
                return Err(Failure::unmanaged());
            }
            let text = String::from_utf8_lossy(body);
            let object = serde_saphyr::from_str(&text);
            Ok(Patch::Apply(object.map_err(|error| Failure::bad_request(error.to_string()))?))
        }
        _ => Err(Failure::unsupported_media_type()),
    }
}

/// A list, or a page of one. Its continuation is the key after which the next page begins.
fn list(state: &State, scope: &Scope, query: &Query) -> Result<Answer, Failure> {
    let kind = &state.kinds[scope.kind];
    let after = match query.get("continue") {
        "" => None,
        text => {
            let (namespace, name) = text.split_once('/').ok_or_else(Failure::expired)?;
            Some((namespace.to_owned(), name.to_owned()))
        }
    };
    let selected = state.select(scope).into_iter();
    let mut rest = selected.skip_while(|(key, _)| {
        after.as_ref().is_some_and(|(namespace, name)| (&key.namespace, &key.name) <= (namespace, name))
    });
    let limit = query.get("limit").parse().ok().filter(|&limit| limit > 0).unwrap_or(usize::MAX);
    let page: Vec<_> = rest.by_ref().take(limit).collect();
    let mut metadata = json!({ "resourceVersion": state.version().to_string() });
    let remaining = rest.count();
    if kind.open_api.is_some() && scope.form == Form::Whole {
        metadata["continue"] = "".into();
    }
    if let Some((key, _)) = page.last().filter(|_| remaining > 0) {
        metadata["continue"] = format!("{}/{}", key.namespace, key.name).into();
        if query.get("labelSelector").is_empty() && query.get("fieldSelector").is_empty() {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    let items = page.iter().map(|(_, object)| {
        let mut item = scope.form.of(object);
        if let Some(fields) = item.as_object_mut()
            && scope.form == Form::Whole
            && kind.open_api.is_none()
        {
            fields.remove("kind");
            fields.remove("apiVersion");
        }
        item
    });
    let items: Vec<_> = items.collect();
    let (name, version) = match scope.form {
        Form::Whole => (format!("{}List", kind.name), kind.api_version()),
        Form::Metadata => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
    };
    Ok(Answer::ok(json!({ "kind": name, "apiVersion": version, "metadata": metadata, "items": items })))
}

fn watch(state: &mut State, scope: &Scope, query: &Query) -> Result<Answer, Failure> {
    let version = query.get("resourceVersion");
    if query.is_set("sendInitialEvents") {
        if query.get("resourceVersionMatch") != "NotOlderThan" {
            return Err(Failure::bad_request("sendInitialEvents needs resourceVersionMatch=NotOlderThan"));
        }
        return Ok(Answer::Watch(Box::new(state.stream(scope))));
    }
    let after = match version {
        "" | "0" => None,
        version => Some(version.parse().map_err(|_| Failure::bad_request("the version is not a number"))?),
    };
    Ok(Answer::Watch(Box::new(state.watch(scope, after))))
}
