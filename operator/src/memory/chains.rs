//! Certificate chains that were just issued, on their way to the Secret.
//!
//! The cache does not keep them, because each is as large as everything else that is known of a certificate. What is not here is read from
//! the API server.

use std::{
    collections::{HashMap, VecDeque},
    sync::Mutex,
};

use k8s_openapi::ByteString;

use crate::sync::lock;

/// How much is remembered, bytes: some hundred chains. Each is taken a moment after it was issued.
const MOST: usize = 2 << 20;

/// Chains by the UID of their CertificateRequest or Order.
#[derive(Debug, Default)]
pub struct Chains(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    chains: HashMap<String, ByteString>,
    /// Their UIDs, the oldest first.
    ages: VecDeque<String>,
    bytes: usize,
}

impl Chains {
    /// Remembers a chain. The oldest ones are forgotten if there are too many.
    pub fn put(&self, uid: String, chain: ByteString) {
        let mut state = lock(&self.0);
        state.bytes += chain.0.len();
        if let Some(old) = state.chains.insert(uid.clone(), chain) {
            state.bytes -= old.0.len();
        } else {
            state.ages.push_back(uid);
        }
        while state.bytes > MOST
            && let Some(oldest) = state.ages.pop_front()
        {
            state.remove(&oldest);
        }
    }

    /// Takes a chain, if it is remembered.
    pub fn take(&self, uid: &str) -> Option<ByteString> {
        let mut state = lock(&self.0);
        let chain = state.remove(uid)?;
        state.ages.retain(|other| other != uid);
        Some(chain)
    }
}

impl State {
    fn remove(&mut self, uid: &str) -> Option<ByteString> {
        let chain = self.chains.remove(uid)?;
        self.bytes -= chain.0.len();
        Some(chain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_is_taken_once() {
        let chains = Chains::default();
        chains.put("1".to_owned(), ByteString(vec![1]));
        assert_eq!(chains.take("1"), Some(ByteString(vec![1])));
        assert_eq!(chains.take("1"), None);
    }

    #[test]
    fn oldest_chains_are_forgotten() {
        let chains = Chains::default();
        for number in 0..100 {
            chains.put(number.to_string(), ByteString(vec![0; MOST / 10]));
        }
        let state = lock(&chains.0);
        assert!(state.bytes <= MOST && state.chains.len() == 10 && state.ages.len() == 10, "{}", state.bytes);
        assert!(state.chains.contains_key("99") && !state.chains.contains_key("89"));
    }
}
