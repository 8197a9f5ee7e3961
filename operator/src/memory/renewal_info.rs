//! Requests for renewal information (RFC 9773), and the responses that their Certificates have not read yet.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{decision::certificate::FetchedRenewalInfo, sync::lock};

/// The most Certificates that wait for a response with the content of their Secrets in memory. Of others, it is read again.
const MOST_KEPT: usize = 200;

/// Asks an ACME server about the certificate of a Certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RenewalInfoRequest {
    /// The namespace of the Certificate.
    pub namespace: String,
    /// The name of the Certificate.
    pub name: String,
    /// The UID of the Certificate.
    pub uid: String,
    /// The certificate (RFC 9773 section 4.1).
    pub identifier: String,
}

/// The requests and responses of all Certificates.
#[derive(Debug)]
pub struct RenewalInfoRequests {
    /// By UID of the Certificate.
    states: Mutex<HashMap<String, State>>,
    sender: UnboundedSender<Arc<RenewalInfoRequest>>,
    queue: Mutex<Option<UnboundedReceiver<Arc<RenewalInfoRequest>>>>,
}

#[derive(Debug)]
struct State {
    request: Arc<RenewalInfoRequest>,
    /// `None` until the server has responded.
    response: Option<FetchedRenewalInfo>,
}

impl Default for RenewalInfoRequests {
    fn default() -> Self {
        let (sender, queue) = unbounded_channel();
        Self { states: Mutex::default(), sender, queue: Mutex::new(Some(queue)) }
    }
}

impl RenewalInfoRequests {
    /// The response to a request, once. `None` if there is none yet; then it is requested, unless it was before.
    pub fn take_or_request(&self, request: RenewalInfoRequest) -> Option<FetchedRenewalInfo> {
        let mut states = lock(&self.states);
        match states.remove(&request.uid).filter(|state| *state.request == request) {
            Some(State { response: Some(response), .. }) => return Some(response),
            Some(state) => states.insert(request.uid.clone(), state),
            None => {
                let request = Arc::new(request);
                // The receiver is dropped only when the process ends.
                _ = self.sender.send(Arc::clone(&request));
                states.insert(request.uid.clone(), State { request, response: None })
            }
        };
        None
    }

    /// Stores the response to a request, if it is still awaited.
    pub fn answer(&self, request: &RenewalInfoRequest, response: FetchedRenewalInfo) {
        if let Some(state) = lock(&self.states).get_mut(&request.uid)
            && *state.request == *request
        {
            state.response = Some(response);
        }
    }

    /// Whether a Certificate is reconciled again soon because a response arrives, so that what was read for it is worth keeping.
    pub fn is_expected_soon(&self, uid: &str) -> bool {
        let states = lock(&self.states);
        states.len() <= MOST_KEPT && states.contains_key(uid)
    }

    /// Forgets a Certificate that was deleted.
    pub fn forget(&self, uid: &str) {
        lock(&self.states).remove(uid);
    }

    /// The requests to send: `None` after the first call.
    pub fn take_queue(&self) -> Option<UnboundedReceiver<Arc<RenewalInfoRequest>>> {
        lock(&self.queue).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(identifier: &str) -> RenewalInfoRequest {
        RenewalInfoRequest {
            namespace: "default".to_owned(),
            name: "web".to_owned(),
            uid: "1".to_owned(),
            identifier: identifier.to_owned(),
        }
    }

    #[test]
    fn server_is_asked_once_and_its_response_read_once() {
        let requests = RenewalInfoRequests::default();
        let mut queue = requests.take_queue().expect("the queue");
        assert!(requests.take_or_request(request("a")).is_none());
        assert!(requests.take_or_request(request("a")).is_none());
        assert!(requests.is_expected_soon("1"));
        assert_eq!(*queue.try_recv().expect("a request"), request("a"));
        assert!(queue.try_recv().is_err(), "one is in flight");
        requests.answer(&request("a"), FetchedRenewalInfo::NoAccount);
        assert!(requests.take_or_request(request("a")).is_some());
        assert!(!requests.is_expected_soon("1"));
        assert!(requests.take_or_request(request("a")).is_none(), "the next check asks again");
    }

    #[test]
    fn response_about_a_replaced_certificate_is_dropped() {
        let requests = RenewalInfoRequests::default();
        requests.take_or_request(request("a"));
        requests.take_or_request(request("b"));
        requests.answer(&request("a"), FetchedRenewalInfo::NoAccount);
        assert!(requests.take_or_request(request("b")).is_none());
    }
}
