//! `docs/LIMITS.md`: every limit on what objects may ask for, from the constants and definitions that have it.

use std::{fmt::Write, fs, path::Path, time::Duration};

use operator::{
    acme, controllers, decision,
    decision::{certificate, fair_queue::Slots, issuer, shim, windows},
    k8s, metrics, net, objects, pki, self_check, server, watchdog,
};
use serde_json::Value;

use crate::{
    ALONE,
    limits_cost::{MEMORY, TIME},
};

/// A limit: of what, the value, where it applies, and what a user sees beyond it.
type Row = (&'static str, String, &'static str, &'static str);

const CODE: &str = "operator";
const DEFINITION: &str = "definition";
const REFUSED: &str = "The API server rejects the object";
const INVALID_SPEC: &str = "`Ready` is False with the reason `InvalidSpec`, and nothing is requested";
const BAD_CONFIG: &str = "A `BadConfig` event with the limit and the value. No Certificate of the object is created, changed, or deleted";

/// A number with separators.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

fn bytes(number: usize) -> String {
    format!("{} bytes", grouped(number))
}

/// The definitions of the kinds.
fn definitions() -> Vec<Value> {
    let files = crds::generate::custom_resource_definitions().expect("definitions");
    files.iter().map(|file| serde_saphyr::from_str(&file.content).expect("YAML")).collect()
}

/// A limit in the definition of a kind: of a field of its spec, `[]` for the items of a list.
fn defined(definitions: &[Value], kind: &str, field: &str, limit: &str) -> String {
    let of = |it: &&Value| it["spec"]["names"]["kind"] == kind;
    let definition = definitions.iter().find(of).expect("a definition of the kind");
    let mut schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    for name in field.split('.') {
        let (name, is_list) = name.strip_suffix("[]").map_or((name, false), |name| (name, true));
        schema = &schema["properties"][name];
        schema = if is_list { &schema["items"] } else { schema };
    }
    let number = schema[limit].as_u64().unwrap_or_else(|| panic!("{kind} {field} has no {limit}"));
    let unit = if limit == "maxLength" { " characters" } else { "" };
    format!("{}{unit}", grouped(usize::try_from(number).expect("a small number")))
}

fn of_certificates(all: &[Value]) -> Vec<Row> {
    let defined = |field, limit| defined(all, "Certificate", field, limit);
    let number = |number: usize| grouped(number);
    vec![
        (
            "all names and the subject of a Certificate together",
            format!("a CSR of {}", bytes(pki::MAX_CSR_PEM_BYTES)),
            CODE,
            INVALID_SPEC,
        ),
        ("`commonName`", defined("commonName", "maxLength"), DEFINITION, REFUSED),
        ("`literalSubject`", defined("literalSubject", "maxLength"), DEFINITION, REFUSED),
        ("`emailAddresses`", defined("emailAddresses", "maxItems"), DEFINITION, REFUSED),
        ("`ipAddresses`", defined("ipAddresses", "maxItems"), DEFINITION, REFUSED),
        ("`otherNames`", defined("otherNames", "maxItems"), DEFINITION, REFUSED),
        (
            "`privateKey.size` for RSA",
            "2,048 to 8,192 bits".to_owned(),
            DEFINITION,
            "The API server rejects the object. Sizes between 2,048, 3,072, 4,096, and 8,192 are `InvalidSpec`",
        ),
        (
            "`renewal.windows`",
            defined("renewal.windows", "maxItems"),
            "definition and operator",
            "The API server rejects the object. If a stored one has more, a `WindowError` event says so, and the certificate is \
             renewed without waiting",
        ),
        ("`renewal.windows[].cron`", defined("renewal.windows[].cron", "maxLength"), DEFINITION, REFUSED),
        (
            "days in which a renewal window is searched for",
            number(windows::LONGEST_SEARCH_DAYS),
            CODE,
            "The certificate is renewed without waiting, and a `WindowError` event says so",
        ),
        (
            "CertificateRequests kept by `revisionHistoryLimit`",
            number(certificate::LONGEST_HISTORY),
            CODE,
            "Older ones are deleted",
        ),
        (
            "CertificateRequests deleted in one reconcile",
            number(certificate::MOST_DELETIONS),
            CODE,
            "The next reconcile deletes more",
        ),
        (
            "requests in a row for one Certificate, whatever asks for them",
            "the third waits 5 minutes (the fifth after changes of the spec), each further one twice as long, at most 8 hours"
                .to_owned(),
            CODE,
            "An `IssuedTooOften` Warning; `Ready` says until when it waits. A certificate that works is renewed in time",
        ),
        (
            "other Certificates with the same `secretName`",
            number(certificate::MOST_RIVALS),
            CODE,
            "Only the one that the Secret names is issued; `Ready` of the others is False with the reason `IncorrectCertificate`",
        ),
        (
            "times in a status that are still to come",
            "now".to_owned(),
            CODE,
            "The status is corrected",
        ),
    ]
}

fn of_secrets() -> Vec<Row> {
    const ANOTHER: &str = "It counts as invalid: `Ready` says why, and another certificate is issued";
    vec![
        ("`tls.key`", bytes(pki::MAX_KEY_PEM_BYTES), CODE, ANOTHER),
        (
            "`tls.crt`",
            format!("{} and {} certificates", bytes(pki::MAX_CHAIN_PEM_BYTES), pki::MAX_CHAIN_LENGTH),
            CODE,
            ANOTHER,
        ),
        (
            "`tls.key` and `tls.crt` that are read without a thread of their own",
            format!("{} and {}", bytes(pki::MAX_FAST_KEY_PEM_BYTES), bytes(pki::MAX_FAST_CHAIN_PEM_BYTES)),
            CODE,
            "Nothing",
        ),
        (
            "a keystore that is compared with its password, alias, and profile",
            bytes(certificate::LONGEST_KEYSTORE),
            CODE,
            "A longer one is created again only with the next certificate",
        ),
        (
            "the CA certificates of an issuer in keystores and truststores",
            format!("{} of PEM", bytes(pki::MAX_AUTHORITIES_PEM_BYTES)),
            CODE,
            "`ca.crt` has all of them, and the stores none",
        ),
        (
            "the private key of an ACME account",
            format!("{} bits for RSA", grouped(pki::MAX_ACCOUNT_KEY_BITS)),
            CODE,
            "The issuer is not ready (`ErrVerifyACMEAccount`)",
        ),
    ]
}

fn of_ingresses() -> Vec<Row> {
    vec![
        (
            "TLS blocks of an Ingress; Secrets of a Gateway or ListenerSet",
            grouped(shim::MOST_BLOCKS),
            CODE,
            BAD_CONFIG,
        ),
        ("hosts of a block and names of annotations", grouped(shim::MOST_NAMES), CODE, BAD_CONFIG),
        (
            "annotations of `cert-manager.io` and `acme.cert-manager.io`, those that a flag copies, and labels together",
            bytes(shim::LONGEST_METADATA),
            CODE,
            BAD_CONFIG,
        ),
        (
            "events about listeners of a Gateway or ListenerSet that lack something",
            grouped(shim::MOST_NOTES),
            CODE,
            "One further event says how many more there are",
        ),
        (
            "ListenerSets that follow a change of their Gateway at once",
            grouped(controllers::MOST_LISTENER_SETS),
            CODE,
            "The others follow within the hour",
        ),
    ]
}

fn of_requests(all: &[Value]) -> Vec<Row> {
    const INVALID_CONFIG: &str = "The issuer is not ready (`InvalidConfig`)";
    vec![
        (
            "`request` of a CertificateRequest",
            format!("one PEM block of {}, each extension once", bytes(pki::MAX_CSR_PEM_BYTES)),
            CODE,
            "`InvalidRequest` is True, and `Ready` False with the reason `Failed`",
        ),
        (
            "`caBundle` of an ACME issuer",
            bytes(acme::MAX_CA_BUNDLE_BYTES),
            "definition and operator",
            "The API server rejects the object. If a stored one has more, the issuer is not ready (`InvalidConfig`)",
        ),
        ("`solvers` of an issuer", defined(all, "Issuer", "acme.solvers", "maxItems"), DEFINITION, REFUSED),
        ("one of the `solvers`, as JSON", bytes(issuer::MAX_SOLVER_BYTES), CODE, INVALID_CONFIG),
        ("all `solvers` of an issuer together", bytes(issuer::MAX_SOLVERS_BYTES), CODE, INVALID_CONFIG),
    ]
}

fn of_servers() -> Vec<Row> {
    const FAILS: &str = "The Order is `errored`: its reason says why";
    let hours = |wait: Duration| format!("{} hours", wait.as_secs() / 3600);
    vec![
        ("a response", "1 MiB".to_owned(), CODE, "The request fails"),
        (
            "authorizations of an order",
            format!("one for each name of the order, and {}", grouped(acme::MAX_AUTHORIZATIONS)),
            CODE,
            FAILS,
        ),
        ("challenges of an authorization", grouped(acme::MAX_CHALLENGES), CODE, FAILS),
        (
            "the token of a challenge",
            "128 characters of base64url".to_owned(),
            CODE,
            "The challenge counts as not offered",
        ),
        (
            "the URL of an order, authorization, challenge, or certificate",
            format!("{} bytes, at a host that the directory names", grouped(acme::MAX_URL_LENGTH)),
            CODE,
            FAILS,
        ),
        ("alternate chains", grouped(acme::MAX_ALTERNATES), CODE, "The others can't be the `preferredChain`"),
        (
            "the wait that `Retry-After` asks for",
            format!("an hour; for new orders, {}", hours(decision::LONGEST_NEW_ORDER_WAIT)),
            CODE,
            "The request is tried again after that time",
        ),
    ]
}

fn of_messages() -> Vec<Row> {
    const CUT: &str = "The rest is cut off, with \"…\"";
    vec![
        ("messages of conditions", bytes(crds::condition::LONGEST_MESSAGE), CODE, CUT),
        ("messages of events", bytes(objects::LONGEST_NOTE), CODE, CUT),
    ]
}

fn of_connections() -> Vec<Row> {
    const REPLACED: &str = "A further one replaces the oldest";
    vec![
        ("open connections at each port of the operator", grouped(server::MAX_CONNECTIONS), CODE, REPLACED),
        (
            "open connections for challenges",
            grouped(http01_solver::MAX_CONNECTIONS),
            "http01-solver",
            REPLACED,
        ),
        (
            "requests to the API server in flight, from each client",
            format!(
                "{}, a third of these for one namespace, {} of these while others have requests, too",
                grouped(k8s::MAX_CONCURRENT_REQUESTS),
                k8s::CONTENDED
            ),
            CODE,
            "Further ones wait",
        ),
        (
            "time without an answer of the API server",
            format!("{} seconds", server::LONGEST_SILENCE.as_secs()),
            CODE,
            "`/livez` fails, so that the kubelet restarts the operator",
        ),
        (
            "time without progress of any reconcile",
            format!("{} seconds", watchdog::ENDS_AFTER),
            CODE,
            "The log names the object, and the process ends, so that the kubelet starts it again",
        ),
        (
            "the share of the operator's time that scrapes of `/metrics` take",
            format!("1/{}", metrics::PAUSE_FACTOR + 1),
            CODE,
            "Scrapes take longer",
        ),
        (
            "ACME servers that have a value of the label `host`",
            grouped(metrics::MAX_HOSTS),
            CODE,
            "Requests to further ones are counted as `other`",
        ),
    ]
}

fn of_shares() -> Vec<Row> {
    const WAITS: &str = "Its further objects wait, and others go first";
    let share = |of: fn(Slots) -> usize| {
        let part = |slots: Slots| format!("1/{}", slots.all / of(slots));
        let (few, many) = (part(Slots::few(4800)), part(Slots::many(4800)));
        format!(
            "{few} of each controller's slots, {many} of those for Orders, issuers, and renewal information"
        )
    };
    vec![
        (
            "an object of any kind, without what is not cached",
            bytes(k8s::MAX_OBJECT_BYTES),
            CODE,
            "The object is ignored, and an `Unreadable` event says so",
        ),
        (
            "objects of a namespace that are reconciled concurrently",
            share(|slots| slots.namespace),
            CODE,
            WAITS,
        ),
        ("objects that may wait for one ACME server concurrently", share(|slots| slots.server), CODE, WAITS),
        (
            "names that are looked up concurrently, for self-checks and for ACME servers each",
            grouped(net::MAX_LOOKUPS),
            CODE,
            "Further lookups wait",
        ),
        (
            "challenges whose answer is requested over several connections concurrently",
            grouped(self_check::MAX_BURSTS),
            CODE,
            WAITS,
        ),
    ]
}

fn page() -> String {
    let all = definitions();
    let mut page = "\
# Limits

What an object may ask for, where the limit applies (in the CustomResourceDefinition or in the operator), and what you see beyond
it. The limits keep the work for one object small, so that no object delays others. An object that was stored before its definition
had a limit stays as it is: the operator applies the limit as well.

This page is generated from the constants and definitions: `UPDATE=1 cargo test -p operator --test limits`. The same test draws
objects of each kind at the limits, and fails if a decision about one takes "
    .to_owned();
    let (time, memory) = (TIME.as_millis(), MEMORY >> 20);
    let _ = writeln!(page, "{time} ms of CPU time in a debug build, or {memory} MiB of memory.");
    for (title, rows) in [
        ("Certificates", of_certificates(&all)),
        ("Secrets", of_secrets()),
        ("Ingresses, Gateways, and ListenerSets", of_ingresses()),
        ("CertificateRequests and issuers", of_requests(&all)),
        ("What an ACME server sends", of_servers()),
        ("What is shared", of_shares()),
        ("Messages", of_messages()),
        ("Connections and metrics", of_connections()),
    ] {
        let _ = write!(
            page,
            "\n## {title}\n\n| what | at most | where | beyond it |\n| --- | --- | --- | --- |\n"
        );
        for (what, limit, place, seen) in rows {
            let _ = writeln!(page, "| {what} | {limit} | {place} | {seen} |");
        }
    }
    page
}

#[test]
fn page_of_limits_is_up_to_date() {
    // A failed test has reported itself.
    let _alone = ALONE.lock();
    let page = page();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/LIMITS.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &page).expect("docs can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/LIMITS.md is out of date: run UPDATE=1 cargo test -p operator --test limits"
    );
}
