//! `docs/FLAGS.md`: what each setting of cert-manager's controller does here. And the flags that concern the start of the program.

use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

use operator::args::catalog::{SETTINGS, Treatment, VERSION};

const INTRODUCTION: &str = "# Flags and members of cert-manager's controller

What each flag of cert-manager's controller does here, and the member of its configuration file (`--config`, the
chart's value `config`) that sets the same. A setting without effect is accepted, with one warning at the start, so that
existing values keep working. A setting that would be dangerous to ignore stops the operator at the start, with the
explanation below. A flag or member that cert-manager doesn't have is an error, as it is there. `operator --help` lists
all flags, with those of this operator.

This page is generated: `UPDATE=1 cargo test -p operator --test flags`.

";

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let count = |is: fn(&Treatment) -> bool| SETTINGS.iter().filter(|setting| is(&setting.treatment)).count();
    _ = writeln!(
        page,
        "cert-manager {VERSION} has {} flags that configure the controller: {} work as there, {} have no effect, {} are rejected.\n",
        SETTINGS.len(),
        count(|it| matches!(it, Treatment::Supported)),
        count(|it| matches!(it, Treatment::Ignored(_))),
        count(|it| matches!(it, Treatment::Rejected(_))),
    );
    page.push_str("| flag | member | here |\n| --- | --- | --- |\n");
    for setting in SETTINGS {
        let members: Vec<_> = setting.members.iter().map(|member| format!("`{member}`")).collect();
        let here = match setting.treatment {
            Treatment::Supported => "the same".to_owned(),
            Treatment::Ignored(effect) => format!("no effect: {effect}"),
            Treatment::Rejected(why) => format!("**rejected**: {why}"),
        };
        _ = writeln!(page, "| `--{}` | {} | {here} |", setting.flag, members.join(", "));
    }
    page
}

#[test]
fn page_lists_every_setting() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/FLAGS.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, page()).expect("the page is writable");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page(),
        "docs/FLAGS.md is outdated: run `UPDATE=1 cargo test -p operator --test flags`"
    );
}

/// Starts the operator, waits until it ends, and returns what it printed.
fn run(flags: &[&str]) -> String {
    run_in(&[], flags)
}

/// The same, in an environment.
fn run_in(environment: &[(&str, &str)], flags: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_operator"));
    command.env_clear().envs(environment.iter().copied()).args(flags).stdin(Stdio::null());
    let output = command.output().expect("the operator starts");
    assert!(!output.status.success(), "the operator ends with an error");
    [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).join("\n")
}

#[test]
fn start_explains_what_it_ignores_and_rejects() {
    // Without a cluster, the operator ends.
    let printed = run(&["--kubeconfig=/nowhere", "--max-concurrent-challenges=60"]);
    let warning = printed.lines().find(|line| line.contains("\"level\":\"WARN\"")).expect("a warning");
    assert!(
        warning.contains("\"setting\":\"--max-concurrent-challenges\"")
            && warning.contains("\"effect\":\"the number")
    );
    assert!(
        printed.contains("failed to configure the Kubernetes client") && printed.contains("/nowhere"),
        "{printed}"
    );
    let printed = run(&["--metrics-tls-cert-file=/tls.crt"]);
    assert!(
        printed.contains("Error: --metrics-tls-cert-file of cert-manager is not supported: metrics are"),
        "{printed}"
    );
    assert!(run(&["--max-challenges=1"]).contains("unexpected argument '--max-challenges' found"));
    let printed = run(&["--kubeconfig=/dev/null", "--master=https://not a url"]);
    assert!(printed.contains("--master is") || printed.contains("failed to configure"), "{printed}");
}

/// The user expects that the API server is connected to through the proxy.
#[test]
fn proxy_of_a_kubeconfig_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let kubeconfig = folder.path().join("config");
    let text = "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{ name: a, context: { cluster: a, user: a } }]\n\
                clusters: [{ name: a, cluster: { server: 'http://127.0.0.1:1', proxy-url: 'http://127.0.0.1:1/' } }]\n\
                users: [{ name: a, user: { token: secret-7 } }]\n";
    fs::write(&kubeconfig, text).expect("a file");
    let flag = format!("--kubeconfig={}", kubeconfig.display());
    for environment in [&[][..], &[("HTTPS_PROXY", "http://127.0.0.1:1/")]] {
        let printed = run_in(environment, &[&flag]);
        assert!(printed.contains("the kubeconfig file has a proxy-url"), "{printed}");
    }
}

#[test]
fn kubeconfig_and_master_select_the_api_server() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let folder = tempfile::tempdir().expect("a folder");
    let kubeconfig = folder.path().join("config");
    let text = "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{ name: a, context: { cluster: a, user: a } }]\n\
                clusters: [{ name: a, cluster: { server: 'http://127.0.0.1:1' } }]\nusers: [{ name: a, user: { token: secret-7 } }]\n";
    fs::write(&kubeconfig, text).expect("a file");
    let mut operator = Command::new(env!("CARGO_BIN_EXE_operator"))
        .args(["--leader-elect=false", "--metrics-listen-address=0", "--healthz-listen-address=0"])
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .arg(format!("--master=http://{address}"))
        // Only ACME servers are connected to through a proxy.
        .env("HTTPS_PROXY", "http://127.0.0.1:1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the operator starts");
    let (mut connection, _) = listener.accept().expect("a connection of the operator");
    let mut request = [0; 4096];
    let length = connection.read(&mut request).expect("a request");
    _ = connection.write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
    operator.kill().and_then(|()| operator.wait()).expect("the operator ends");
    let request = String::from_utf8_lossy(&request[..length]).into_owned();
    assert!(request.starts_with("GET /api") && request.contains("Bearer secret-7"), "{request}");
}
