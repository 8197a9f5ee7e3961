//! An ACME server in memory with accounts, which runs the course that a test has drawn.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    acme::{AcmeError, Phase},
    decision::{runner::Meter, testing::Failure},
};

/// What the server does.
#[derive(Clone, Debug)]
pub(super) struct CaCourse {
    /// What becomes of the first requests; all after them are answered.
    pub(super) replies: Vec<Reply>,
    /// When every request fails, from the start, and how.
    pub(super) outage: Option<(Duration, Duration, Failure)>,
    /// How every request fails after these.
    pub(super) failure: Option<Failure>,
    /// Whether new accounts must be bound to an external one.
    pub(super) requires_binding: bool,
    /// Whether it returns the contact of an account.
    pub(super) returns_contact: bool,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reply {
    Done,
    /// It is not done.
    Fails(Failure),
    /// It is done, and the response is lost.
    Lost,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CaAccount {
    pub(super) uri: String,
    pub(super) contact: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Ca {
    pub(super) course: CaCourse,
    replies: VecDeque<Reply>,
    start: Timestamp,
    /// By hash of the key.
    accounts: BTreeMap<String, CaAccount>,
    registered: usize,
    /// Everything that the server has given as a reason.
    pub(super) causes: Vec<String>,
    pub(super) meter: Meter,
}

impl Ca {
    pub(super) fn new(course: CaCourse, start: Timestamp) -> Self {
        Self {
            replies: course.replies.iter().copied().collect(),
            course,
            start,
            accounts: BTreeMap::new(),
            registered: 0,
            causes: Vec::new(),
            meter: Meter::default(),
        }
    }

    /// The account of a key.
    pub(super) fn account(&self, key_hash: &str) -> Option<&CaAccount> {
        self.accounts.get(key_hash)
    }

    /// Whether there is an account with this URL.
    pub(super) fn has_account(&self, uri: Option<&str>) -> bool {
        self.accounts.values().any(|account| Some(account.uri.as_str()) == uri)
    }

    /// Forgets all accounts.
    pub(super) fn lose_accounts(&mut self) {
        self.accounts.clear();
    }

    /// newAccount, RFC 8555 section 7.3: finds the account of a key, or registers it with a contact.
    pub(super) fn find_or_create(
        &mut self,
        now: Timestamp,
        key_hash: &str,
        contact: &[String],
        binds: bool,
    ) -> Result<CaAccount, AcmeError> {
        self.request(now, |ca| {
            if !ca.accounts.contains_key(key_hash) {
                if ca.course.requires_binding && !binds {
                    return Err(Failure::problem("externalAccountRequired", 403));
                }
                ca.registered += 1;
                let uri = format!("https://ca.example.test/account/{}", ca.registered);
                ca.accounts.insert(key_hash.to_owned(), CaAccount { uri, contact: contact.to_vec() });
            }
            Ok(ca.accounts[key_hash].clone())
        })
    }

    /// An update of the contact, RFC 8555 section 7.3.2.
    pub(super) fn update_contact(
        &mut self,
        now: Timestamp,
        key_hash: &str,
        contact: &[String],
    ) -> Result<CaAccount, AcmeError> {
        self.request(now, |ca| {
            let account =
                ca.accounts.get_mut(key_hash).ok_or(Failure::problem("accountDoesNotExist", 400))?;
            account.contact = contact.to_vec();
            Ok(account.clone())
        })
    }

    fn request(
        &mut self,
        now: Timestamp,
        perform: impl FnOnce(&mut Self) -> Result<CaAccount, Failure>,
    ) -> Result<CaAccount, AcmeError> {
        self.meter.count(now);
        let reply = match self.course.outage {
            Some((from, until, failure)) if now >= self.start + from && now < self.start + until => {
                Reply::Fails(failure)
            }
            _ => self
                .replies
                .pop_front()
                .unwrap_or_else(|| self.course.failure.map_or(Reply::Done, Reply::Fails)),
        };
        let result = match reply {
            Reply::Fails(failure) => Err(failure),
            Reply::Lost => perform(self).and(Err(Failure::Unreachable(Phase::Lost))),
            Reply::Done => perform(self),
        };
        let account = result.map_err(|failure| {
            self.causes.push(failure.error().to_string());
            failure.error()
        })?;
        let contact = if self.course.returns_contact { account.contact } else { Vec::new() };
        Ok(CaAccount { contact, ..account })
    }
}
