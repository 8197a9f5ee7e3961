//! An issuer among an API server, the Secrets that it names, a CA and a process that runs its decisions, all in memory. Anything but
//! a decision may fail: a write, a request, the process.

use std::{collections::VecDeque, time::Duration};

use crds::{
    acme::ExternalAccountBinding,
    certmanager::Issuer,
    condition::{self, ConditionStatus},
    fixtures,
    meta::SecretKeySelector,
};
use jiff::Timestamp;

use super::{
    super::{
        AccountError, IssuerProgress, KeyView, Outcome, Step, View, contact_urls, decide, external_account,
        on_account_error, on_registered, updates_contact,
    },
    ca::{Ca, CaAccount, CaCourse, Reply},
};
use crate::{
    decision::{
        Requeue,
        runner::{Meter, Runner, Stop, Stored, Write},
    },
    objects::EventNote,
};

/// How soon an Order notices that the CA has lost the account.
const NOTICED: Duration = Duration::from_secs(10);

/// How long a state may last without a message.
const SILENCE: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);

/// How long after the last event a test gives up to wait for something else than the time that the CA asks for.
const PATIENCE: Duration = Duration::from_hours(4);

/// Longer than any course takes, with ten waits of a day.
const LONG: Duration = Duration::from_hours(20 * 24);

/// Whether the issuer has an external account, and what its Secret holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    None,
    Usable,
    NotBase64,
    /// The Secret is created late or never.
    Missing {
        created: Option<Duration>,
    },
}

/// What happens to one issuer.
#[derive(Clone, Debug)]
pub(super) struct Course {
    pub(super) ca: CaCourse,
    pub(super) email: Option<&'static str>,
    pub(super) disable_key_generation: bool,
    pub(super) binding: Binding,
    /// What the account key Secret holds from the start.
    pub(super) secret: SecretCourse,
    /// What users and the CA do.
    pub(super) changes: Vec<(Duration, Change)>,
    /// What becomes of writes of the issuer, and of its Secret.
    pub(super) writes: Vec<Write>,
    pub(super) secret_writes: Vec<Write>,
    /// How long a watch event takes.
    pub(super) lag: Duration,
    /// After how many effects each process ends.
    pub(super) fuses: Vec<usize>,
}

impl Course {
    /// Whether the status always has what was registered. Otherwise, an account may be found whose contact is not known: CAs may not
    /// return it, and the email address may have changed since.
    fn is_exact(&self) -> bool {
        let is_lost = |reply: &Reply| matches!(reply, Reply::Lost);
        self.fuses.is_empty() && self.writes.is_empty() && !self.ca.replies.iter().any(is_lost)
    }
}

/// What the Secret with the account's private key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SecretCourse {
    Absent,
    Empty,
    Garbage,
    /// One of several keys.
    Key(usize),
}

/// What users and the CA do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Secret(SecretCourse),
    Email(Option<&'static str>),
    /// Something that changes nothing in the spec.
    Annotation,
    LoseAccounts,
    NoticeLostAccount,
    CreateMacKey,
}

/// What the process knows and loses when it ends.
#[derive(Debug, Default)]
struct Process {
    progress: Option<IssuerProgress>,
    /// The last status that could not be written.
    unwritten: Option<crds::certmanager::IssuerStatus>,
    account_lost: bool,
    /// The URL of the account in use.
    account: Option<String>,
}

#[derive(Debug)]
pub(super) struct World {
    course: Course,
    start: Timestamp,
    last_change: Timestamp,
    runner: Runner,
    issuer: Stored<Issuer>,
    secret: SecretCourse,
    has_mac_key: bool,
    secret_writes: VecDeque<Write>,
    generated: usize,
    process: Process,
    pub(super) ca: Ca,
    changes: Vec<(Timestamp, Change)>,
    pub(super) status_writes: Meter,
    /// The last warning of this process, if the issuer was not ready since.
    warning: Option<EventNote>,
}

impl World {
    pub(super) fn new(course: Course) -> Self {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let mut changes: Vec<_> =
            course.changes.iter().map(|(after, change)| (start + *after, *change)).collect();
        if let Binding::Missing { created: Some(created) } = course.binding {
            changes.push((start + created, Change::CreateMacKey));
        }
        Self {
            start,
            last_change: changes.iter().map(|(time, _)| *time).max().unwrap_or(start),
            runner: Runner::new(start, &course.fuses),
            issuer: Stored::new(issuer(&course), course.lag, &course.writes),
            secret: course.secret,
            has_mac_key: course.binding == Binding::Usable,
            secret_writes: course.secret_writes.iter().copied().collect(),
            generated: 0,
            process: Process::default(),
            ca: Ca::new(course.ca.clone(), start),
            changes,
            status_writes: Meter::default(),
            warning: None,
            course,
        }
    }

    /// Runs until nothing changes any more, and the issuer is what it can be.
    pub(super) fn run(&mut self) {
        for _ in 0..20_000 {
            let over = self.changes.is_empty() && self.issuer.next_event().is_none();
            let late = self.runner.now > self.last_change + PATIENCE;
            if over && (self.works() || (late && !self.can_work() && self.is_refused())) {
                return;
            }
            assert!(
                self.runner.now < self.start + LONG,
                "the issuer stays as it is: {:?} {:?}",
                self.issuer.current().status,
                self.process
            );
            let changes = self.changes.iter().map(|(time, _)| *time);
            let next = changes.chain(self.issuer.next_event()).chain(self.runner.due()).min();
            let next = next.unwrap_or_else(|| panic!("nothing reconciles the issuer: {:?}", self.process));
            let persists = next.duration_since(self.runner.now) > SILENCE
                && !self.works()
                && self.process.unwritten.is_none();
            let message = self.ready().map_or("", |(_, message)| message);
            assert!(!persists || !message.is_empty(), "nothing says what it waits for: {:?}", self.process);
            self.runner.now = self.runner.now.max(next);
            self.happen();
            if self.runner.due().is_some_and(|due| due <= self.runner.now) {
                self.reconcile();
            }
        }
        panic!("the issuer is reconciled without end: {:?}", self.process);
    }

    /// Whether the issuer is ready, and its status and the process have the account that the CA has.
    pub(super) fn works(&self) -> bool {
        let issuer = self.issuer.current();
        let (acme, status) = (issuer.spec.acme.as_ref(), issuer.status.as_ref());
        let (Some(acme), Some(status)) = (acme, status) else { return false };
        let SecretCourse::Key(key) = self.secret else { return false };
        let Some(account) = self.ca.account(&hash(key)) else { return false };
        let known = status.acme.as_ref();
        let ready = condition::find(&status.conditions, condition::READY);
        ready.is_some_and(|it| {
            it.status == ConditionStatus::True && it.observed_generation == issuer.metadata.generation
        }) && known.and_then(|it| it.uri.as_ref()) == Some(&account.uri)
            && known.and_then(|it| it.last_private_key_hash.as_ref()) == Some(&hash(key))
            && (account.contact == contact_urls(acme) || !self.course.is_exact())
            && self.process.account.as_ref() == Some(&account.uri)
            && !self.process.account_lost
    }

    /// Whether everything that the issuer needs is there.
    pub(super) fn can_work(&self) -> bool {
        let key = match self.secret {
            SecretCourse::Key(_) => true,
            SecretCourse::Absent => !self.course.disable_key_generation,
            SecretCourse::Empty | SecretCourse::Garbage => false,
        };
        let binding = match self.course.binding {
            Binding::None => !self.course.ca.requires_binding,
            Binding::Usable => true,
            Binding::NotBase64 => false,
            Binding::Missing { created } => created.is_some(),
        };
        key && binding && self.course.ca.failure.is_none()
    }

    /// Whether the status says why the issuer can't work, and something tries again.
    fn is_refused(&self) -> bool {
        let Some((status, message)) = self.ready() else { return false };
        let known = [
            "Account private key is invalid: the Secret \"account-key\"",
            "Failed to verify ACME account: the Secret \"account-key\"",
            "Failed to register ACME account: the Secret \"mac\"",
            "Failed to register ACME account: failed to read the MAC key",
        ];
        let cause = known.iter().any(|known| message.starts_with(known))
            || self.ca.causes.iter().any(|cause| message.contains(cause));
        status == ConditionStatus::False && cause && self.runner.due().is_some()
    }

    fn ready(&self) -> Option<(ConditionStatus, &str)> {
        let status = self.issuer.current().status.as_ref()?;
        let ready = condition::find(&status.conditions, condition::READY)?;
        Some((ready.status, ready.message.as_deref().unwrap_or_default()))
    }

    fn known_uri(&self) -> Option<&str> {
        self.issuer.current().status.as_ref()?.acme.as_ref()?.uri.as_deref()
    }

    /// Lets everything happen whose time has come.
    fn happen(&mut self) {
        let now = self.runner.now;
        let all = std::mem::take(&mut self.changes);
        let (due, later): (Vec<_>, Vec<_>) = all.into_iter().partition(|(time, _)| *time <= now);
        self.changes = later;
        for (_, change) in due {
            self.change(change);
        }
        if self.issuer.deliver(now) {
            self.runner.enqueue();
        }
    }

    fn change(&mut self, change: Change) {
        let now = self.runner.now;
        match change {
            Change::Secret(secret) => self.secret = secret,
            Change::Email(email) => self.issuer.change(now, |issuer| {
                let acme = issuer.spec.acme.as_mut().expect("an ACME issuer");
                acme.email = email.map(ToOwned::to_owned);
                issuer.metadata.generation = issuer.metadata.generation.map(|it| it + 1);
            }),
            Change::Annotation => self.issuer.change(now, |issuer| {
                let annotations = issuer.metadata.annotations.get_or_insert_default();
                annotations.insert("changed".to_owned(), now.to_string());
            }),
            Change::LoseAccounts => {
                self.ca.lose_accounts();
                self.notice_lost_account();
            }
            Change::NoticeLostAccount => {
                // As Context::look_up_account does. Nothing uses the account of an issuer that is not ready.
                let ready = self.ready().is_some_and(|(status, _)| status == ConditionStatus::True);
                if ready && !self.ca.has_account(self.known_uri()) {
                    self.process.account = None;
                    self.process.account_lost = true;
                    self.runner.enqueue();
                }
            }
            Change::CreateMacKey => self.has_mac_key = true,
        }
    }

    /// An Order uses the account soon.
    fn notice_lost_account(&mut self) {
        self.changes.push((self.runner.now + NOTICED, Change::NoticeLostAccount));
    }

    fn reconcile(&mut self) {
        if !self.runner.begin(&self.issuer) {
            return;
        }
        let outcome = self.try_reconcile();
        match outcome {
            Ok(Requeue::After(_)) | Err(Stop::Conflict | Stop::Error | Stop::Retry(_)) => {}
            Ok(Requeue::OnChange | Requeue::Resync) => {
                let ready = self.ready().is_some_and(|(status, _)| status == ConditionStatus::True);
                // A write whose response was lost reconciles it, too.
                let soon = self.issuer.next_event().is_some();
                assert!(ready || soon, "the issuer is left without a next reconcile: {:?}", self.process);
            }
            Err(Stop::Crash) => {
                self.process = Process::default();
                self.warning = None;
                self.issuer.restart();
                self.notice_lost_account();
            }
        }
        self.runner.end(outcome);
    }

    fn view<'a>(&self, issuer: &'a Issuer, key: &'a KeyView) -> View<'a> {
        View {
            uid: "1",
            generation: issuer.metadata.generation,
            acme: issuer.spec.acme.as_ref().expect("an ACME issuer"),
            status: issuer.status.as_ref().expect("a status"),
            key,
            mac_key: self.has_mac_key.then_some(1),
            account_lost: self.process.account_lost,
            progress: self.process.progress,
            now: self.runner.now,
        }
    }

    fn try_reconcile(&mut self) -> Result<Requeue, Stop> {
        let issuer = self.issuer.shown().clone();
        let mut key = self.read_key(KeyView::Absent);
        for _ in 0..3 {
            match decide(&self.view(&issuer, &key)) {
                Step::UseAccount(uri) => {
                    self.process.account = Some(uri);
                    return Ok(Requeue::Resync);
                }
                Step::Wait(wait) => {
                    if let Some(status) = self.process.unwritten.clone() {
                        self.write(&issuer, status)?;
                    }
                    return Ok(Requeue::After(wait));
                }
                Step::GenerateKey => key = self.generate_key()?,
                Step::Register => return self.register(&issuer, &key),
                Step::Refuse(outcome) => return self.finish(&issuer, *outcome, None),
            }
        }
        panic!("keys are generated without end")
    }

    fn read_key(&self, missing: KeyView) -> KeyView {
        match self.secret {
            SecretCourse::Absent | SecretCourse::Empty => missing,
            SecretCourse::Garbage => KeyView::Invalid("it is not PEM".to_owned()),
            SecretCourse::Key(key) => KeyView::Present { hash: hash(key) },
        }
    }

    fn generate_key(&mut self) -> Result<KeyView, Stop> {
        let write = self.secret_writes.pop_front().unwrap_or(Write::Done);
        if write == Write::Rejected {
            return Err(Stop::Error);
        }
        // A conflict is a Secret that something else has just created.
        if self.secret != SecretCourse::Absent || write == Write::Conflict {
            if self.secret == SecretCourse::Absent {
                self.secret = SecretCourse::Key(77);
            }
            return Ok(self.read_key(KeyView::Empty));
        }
        self.generated += 1;
        self.secret = SecretCourse::Key(100 + self.generated);
        self.runner.passed()?;
        if write == Write::ResponseLost {
            return Err(Stop::Error);
        }
        Ok(self.read_key(KeyView::Empty))
    }

    fn register(&mut self, issuer: &Issuer, key: &KeyView) -> Result<Requeue, Stop> {
        let KeyView::Present { hash } = key else { panic!("an account without a key is registered") };
        match self.open_account(issuer, hash) {
            Ok(account) => {
                self.runner.passed()?;
                let outcome = on_registered(&self.view(issuer, key), &account.uri, hash.clone());
                self.finish(issuer, outcome, Some(account.uri))
            }
            Err(error) => {
                self.runner.passed()?;
                let outcome = on_account_error(&self.view(issuer, key), &error);
                self.finish(issuer, outcome, None)
            }
        }
    }

    fn open_account(&mut self, issuer: &Issuer, hash: &str) -> Result<CaAccount, AccountError> {
        let acme = issuer.spec.acme.as_ref().expect("an ACME issuer");
        let mac_key: &[u8] =
            if self.course.binding == Binding::NotBase64 { b"?" } else { b"c2VjcmV0LXNlY3JldA" };
        let is_there = self.has_mac_key || self.course.binding == Binding::NotBase64;
        let external = external_account(acme, "a", is_there.then_some(mac_key))?;
        let (now, contact) = (self.runner.now, contact_urls(acme));
        let account = self.ca.find_or_create(now, hash, &contact, external.is_some());
        let account = account.map_err(AccountError::Register)?;
        let status = issuer.status.as_ref().expect("a status");
        if updates_contact(acme, status, &account.uri, &account.contact) {
            return self.ca.update_contact(now, hash, &contact).map_err(AccountError::UpdateContact);
        }
        Ok(account)
    }

    fn finish(
        &mut self,
        issuer: &Issuer,
        outcome: Outcome,
        account: Option<String>,
    ) -> Result<Requeue, Stop> {
        let Outcome { status, event, progress, requeue } = outcome;
        let opened = account.is_some();
        self.process.account = account;
        if progress.is_some() {
            self.process.progress = progress;
        }
        // What the process does not learn, or what makes the issuer ready, is followed by another event.
        let warning = self.warning.take();
        self.write(issuer, status)?;
        self.warning = warning.filter(|_| !opened);
        if let Some(event) = event {
            assert_ne!(self.warning.as_ref(), Some(&event), "an event is published for a retry");
            self.warning = Some(event);
        }
        self.process.progress = progress;
        if opened {
            self.process.account_lost = false;
        }
        Ok(requeue)
    }

    fn write(&mut self, issuer: &Issuer, status: crds::certmanager::IssuerStatus) -> Result<(), Stop> {
        self.process.unwritten = Some(status.clone());
        if issuer.status.as_ref() != Some(&status) {
            self.status_writes.count(self.runner.now);
            self.issuer.write(self.runner.now, |it| it.status = Some(status))?;
            self.runner.passed()?;
        }
        self.process.unwritten = None;
        Ok(())
    }
}

/// The hash of a key.
fn hash(key: usize) -> String {
    format!("hash-{key}")
}

fn issuer(course: &Course) -> Issuer {
    fixtures::issuer("issuer", |it| {
        it.metadata.generation = Some(1);
        it.status = Some(crds::certmanager::IssuerStatus::default());
        let acme = it.spec.acme.as_mut().expect("an ACME issuer");
        acme.server = "https://ca.example.test/directory".into();
        acme.email = course.email.map(ToOwned::to_owned);
        acme.disable_account_key_generation = Some(course.disable_key_generation);
        acme.external_account_binding = (course.binding != Binding::None).then(|| ExternalAccountBinding {
            key_id: "kid".into(),
            key_secret_ref: SecretKeySelector { name: "mac".into(), key: Some("secret".into()) },
            key_algorithm: None,
        });
    })
}
