//! What flags and configuration files mean.

use clap::CommandFactory as _;

use super::{
    catalog::{Kind, SETTINGS, Setting, Treatment},
    *,
};

fn try_read(flags: &[&str]) -> Result<(Arguments, Vec<IgnoredSetting>)> {
    Arguments::read(std::iter::once("operator").chain(flags.iter().copied()).map(OsString::from))
}

fn read(flags: &[&str]) -> (Arguments, Vec<String>) {
    let (arguments, ignored) = try_read(flags).expect("valid flags");
    (arguments, ignored.into_iter().map(|setting| setting.name).collect())
}

/// Reads a configuration file, and flags.
fn try_read_file(text: &str, flags: &[&str]) -> Result<(Arguments, Vec<IgnoredSetting>)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("config.yaml");
    fs::write(&path, text)?;
    try_read(&[&[&*format!("--config={}", path.display())], flags].concat())
}

#[test]
fn flags_of_the_cert_manager_chart_are_accepted() {
    let (arguments, ignored) = read(&[
        "--v=2",
        "--cluster-resource-namespace=cert-manager",
        "--leader-election-namespace=kube-system",
        "--acme-http01-solver-image=quay.io/jetstack/cert-manager-acmesolver:v1.21.1",
        "--max-concurrent-challenges",
        "60",
        "--enable-certificate-owner-ref",
        "--leader-elect=false",
        "--metrics-listen-address=:9402",
        "--controllers=*,-certificaterequests-approver",
    ]);
    assert!(arguments.enable_certificate_metrics);
    assert_eq!(arguments.cluster_resource_namespace, "cert-manager");
    assert!(arguments.enable_certificate_owner_ref && !arguments.leader_elect);
    assert!(!arguments.settings().auto_approve);
    assert_eq!(ignored, ["--acme-http01-solver-image", "--max-concurrent-challenges"]);
}

#[test]
fn booleans_are_spelled_as_in_go() {
    for (texts, expected) in
        [(["1", "t", "T", "TRUE", "true", "True"], true), (["0", "f", "F", "FALSE", "false", "False"], false)]
    {
        for text in texts {
            let (arguments, _) = read(&[&format!("--leader-elect={text}")]);
            assert_eq!(arguments.leader_elect, expected, "{text}");
        }
    }
    let error = try_read(&["--leader-elect=yes"]).expect_err("not a boolean of Go").to_string();
    assert!(error.contains("\"yes\" is neither \"true\" nor \"false\""), "{error}");
}

#[test]
fn flags_override_the_config_file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("config.yaml");
    fs::write(
        &path,
        "apiVersion: controller.config.cert-manager.io/v1alpha1\nkind: ControllerConfiguration\n\
         clusterResourceNamespace: here\nmaxConcurrentChallenges: 20\nfeatureGates: { ACMEUseARI: true }\n\
         ingressShimConfig: { defaultIssuerName: prod, defaultIssuerKind: ClusterIssuer }\n\
         leaderElectionConfig: { leaseDuration: 30s }\nlogging: { format: text }\n",
    )?;
    let config = format!("--config={}", path.display());
    let (arguments, ignored) = read(&[&config, "--leader-election-lease-duration=20s"]);
    assert_eq!(arguments.cluster_resource_namespace, "here");
    assert_eq!(arguments.default_issuer_name, "prod");
    assert_eq!(arguments.leader_election_lease_duration, Duration::from_secs(20));
    assert_eq!(arguments.logging_format, LogFormat::Text);
    assert_eq!(ignored, ["featureGates", "maxConcurrentChallenges"]);
    Ok(())
}

/// Flags of klog and of cert-manager that only concern its own internals.
#[test]
fn logging_and_internal_flags_are_ignored() {
    let (arguments, ignored) = read(&[
        "--vmodule=controller=5",
        "--log-flush-frequency",
        "5s",
        "--log-json-split-stream",
        "--internal-healthz-listen-address=:9403",
        "--logging-format=text",
        "--log-filter=debug",
    ]);
    assert_eq!((arguments.logging_format, &*arguments.log_filter), (LogFormat::Text, "debug"));
    let expected = [
        "--vmodule",
        "--log-flush-frequency",
        "--log-json-split-stream",
        "--internal-healthz-listen-address",
    ];
    assert_eq!(ignored, expected);
}

#[test]
fn namespaces_are_a_list_without_duplicates() {
    let namespaces =
        |flags: &[&str]| read(flags).0.settings().namespaces.into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(namespaces(&[]), "");
    assert_eq!(namespaces(&["--namespace="]), "");
    assert_eq!(namespaces(&["--namespace=b, a,,b"]), "a b");
}

#[test]
fn zero_turns_a_listener_off() {
    let (arguments, _) = read(&["--metrics-listen-address=0", "--healthz-listen-address", "0"]);
    assert_eq!((arguments.metrics_listen_address.port(), arguments.healthz_listen_address.port()), (0, 0));
    assert!(Arguments::try_parse_from(["operator", "--metrics-listen-address=nowhere"]).is_err());
}

/// A valid value of a setting.
fn sample(setting: &Setting) -> &'static str {
    match (setting.kind, setting.flag) {
        (Kind::Switch, _) => "true",
        (Kind::Duration, "leader-election-lease-duration") => "30s",
        (Kind::Duration, _) => "5s",
        (_, "controllers") => "*",
        (_, "v" | "kube-api-qps" | "kube-api-burst") => "4",
        (_, "logging-format") => "text",
        (_, "metrics-listen-address" | "healthz-listen-address") => "127.0.0.1:9000",
        (_, "acme-http01-solver-extra-labels") => "team=web",
        (_, "acme-http01-solver-nameservers") => "8.8.8.8:53",
        (Kind::Text, _) => "value",
    }
}

/// Checks what reading a setting has led to.
fn check(setting: &Setting, name: &str, result: Result<(Arguments, Vec<IgnoredSetting>)>) {
    match (setting.treatment, result) {
        (Treatment::Supported, Ok((_, ignored))) => assert_eq!(ignored, [], "{name} has an effect"),
        (Treatment::Ignored(effect), Ok((_, ignored))) => {
            let names: Vec<_> = ignored.iter().map(|it| (&*it.name, it.effect)).collect();
            assert_eq!(names, [(name, effect)], "one warning says what happens");
        }
        (Treatment::Rejected(why), Err(error)) => {
            let error = format!("{error:#}");
            assert!(error.contains(&format!("{name} of cert-manager is not supported: {why}")), "{error}");
        }
        (treatment, result) => panic!("{name} is {treatment:?}, but {result:?}"),
    }
}

#[test]
fn each_flag_is_supported_or_explained() {
    for setting in SETTINGS.iter().filter(|setting| setting.flag != "config") {
        let flag = format!("--{}", setting.flag);
        check(setting, &flag, try_read(&[&format!("{flag}={}", sample(setting))]));
        if setting.kind == Kind::Switch {
            check(setting, &flag, try_read(&[&flag]));
        } else {
            check(setting, &flag, try_read(&[&flag, sample(setting)]));
        }
    }
}

#[test]
fn each_member_is_supported_or_explained() {
    for setting in SETTINGS {
        for member in setting.members {
            let value = match sample(setting) {
                "team=web" => r#"{ "team": "web" }"#,
                "*" => "['*']",
                value => value,
            };
            let (nested, close) = (member.replace('.', ": { "), " }".repeat(member.matches('.').count()));
            check(setting, member, try_read_file(&format!("{nested}: {value}{close}"), &[]));
        }
    }
}

/// Upstream's chart passes an empty value for what is not set.
#[test]
fn empty_values_are_defaults() -> Result<()> {
    let empty = "metricsListenAddress: ''\ncontrollers: []\nkubernetesAPIQPS: 0\nnamespace:\nmetricsTLSConfig: { filesystem: { \
                 certFile: '' }, dynamic: {} }\nleaderElectionConfig: { leaseDuration: 0 }\n";
    let (arguments, ignored) = try_read_file(empty, &["--metrics-tls-cert-file="])?;
    assert_eq!((arguments.metrics_listen_address.port(), ignored), (9402, Vec::new()));
    assert_eq!(arguments.leader_election_lease_duration, Duration::from_secs(15));
    Ok(())
}

#[test]
fn invalid_files_are_explained() {
    for (text, explanation) in [
        ("clusterResourceNamspace: a", "v1.21 has no member \"clusterResourceNamspace\""),
        ("logging: { options: { xml: 1 } }", "v1.21 has no member \"logging.options.xml\""),
        ("logging: text", "v1.21 has no member \"logging\""),
        (
            "kind: WebhookConfiguration",
            "its kind is \"WebhookConfiguration\", but has to be \"ControllerConfiguration\"",
        ),
        (
            "leaderElectionConfig: { leaseDuration: soon }",
            "invalid value 'soon' for '--leader-election-lease-duration",
        ),
        ("- a", "it is not a YAML object"),
        ("controllers: ['*', '-orders']", "--controllers leaves out orders"),
    ] {
        let error = try_read_file(text, &[]).err().map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(error.contains(explanation), "{text}: {error}");
    }
}

#[test]
fn settings_have_the_types_of_cert_manager() -> Result<()> {
    let text = "leaderElectionConfig: { leaseDuration: 30000000000, enabled: false }\nlogging: { verbosity: 4 }\n\
                acmeHTTP01Config: { solverExtraLabels: { team: web, cost: '7' } }\nnamespace: shop\nkubeConfig: /a\n\
                apiServerHost: https://b\ncontrollers: ['*', -ingress-shim, -certificates-metrics, certificaterequests-issuer-ca]\n\
                ingressShimConfig: { extraCertificateAnnotations: [a, b] }\n";
    let (arguments, ignored) = try_read_file(text, &[])?;
    assert_eq!(arguments.leader_election_lease_duration, Duration::from_secs(30));
    assert!(!arguments.leader_elect && arguments.verbosity == 4 && !arguments.enable_certificate_metrics);
    assert_eq!((arguments.kubeconfig.as_deref(), &*arguments.master), (Some("/a".as_ref()), "https://b"));
    let settings = arguments.settings();
    assert_eq!(settings.namespaces.into_iter().collect::<Vec<_>>(), ["shop"]);
    assert_eq!(settings.solver_labels.len(), 2);
    assert!(settings.ingress.is_off && settings.auto_approve);
    assert_eq!(settings.ingress.extra_annotations, ["a", "b"]);
    assert_eq!(ignored.iter().map(|it| &*it.name).collect::<Vec<_>>(), ["--controllers"]);
    Ok(())
}

/// The chart of cert-manager gives one flag for each label. A flag replaces the list of the file.
#[test]
fn repeated_flags_add_to_a_list() -> Result<()> {
    let label = |name| format!("--acme-http01-solver-extra-labels={name}=b");
    let file = "acmeHTTP01Config: { solverExtraLabels: { c: b } }";
    let (arguments, _) = try_read_file(file, &[&label("a"), &label("d")])?;
    let names: Vec<_> = arguments.settings().solver_labels.into_keys().collect();
    assert_eq!(names, ["a", "d"]);
    Ok(())
}

#[test]
fn name_servers_have_a_host_and_a_port() -> Result<()> {
    let flag = |servers: &str| format!("--acme-http01-solver-nameservers={servers}");
    let servers = ["8.8.8.8:53", "[2001:db8::1]:53", "dns.test:5353"];
    let (arguments, _) = try_read_file("{}", &[&flag(&servers.join(","))])?;
    assert_eq!(arguments.acme_http01_solver_nameservers, servers);
    let (_, ignored) =
        try_read_file("acmeHTTP01Config: { solverNameservers: ['8.8.8.8:53'] }", &[&flag("")])?;
    assert!(ignored.is_empty(), "{ignored:?}");
    for wrong in ["8.8.8.8", "dns.test", ":53", "dns.test:0", "2001:db8::1"] {
        let error = try_read_file("{}", &[&flag(wrong)]).err().map(|error| format!("{error:#}"));
        assert!(error.is_some_and(|error| error.contains("is not a name server such as")), "{wrong}");
    }
    Ok(())
}

/// A flag and a member, or two members, that set the same.
#[test]
fn ignored_setting_is_reported_once() -> Result<()> {
    let file = "maxConcurrentChallenges: 3";
    let (_, ignored) = try_read_file(file, &["--max-concurrent-challenges=4"])?;
    let names: Vec<_> = ignored.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["--max-concurrent-challenges"]);
    Ok(())
}

#[test]
fn gateways_are_served_unless_turned_off() -> Result<()> {
    let is_off = |file: &str, flags: &[&str]| -> Result<[bool; 3]> {
        let settings = try_read_file(file, flags)?.0.settings();
        Ok([!settings.gateway_api, settings.gateway.is_off, settings.listener_set.is_off])
    };
    assert_eq!(is_off("{}", &[])?, [false; 3]);
    assert_eq!(is_off("{}", &["--enable-gateway-api=false"])?, [true; 3]);
    assert_eq!(is_off("enableGatewayAPI: false\ngatewayAPI: { enabled: false }", &[])?, [true; 3]);
    assert_eq!(is_off("gatewayAPI: { enableListenerSet: false }", &[])?, [false, false, true]);
    assert_eq!(is_off("{}", &["--controllers=*,-gateway-shim"])?, [false, true, true], "HTTPRoutes are");
    let (arguments, _) = try_read_file("gatewayAPI: { extraProtocols: [example.com/tls] }", &[])?;
    assert_eq!(arguments.settings().gateway.extra_protocols, ["example.com/tls"]);
    Ok(())
}

#[test]
fn identity_is_that_of_the_pod() -> Result<()> {
    let flags = ["--instance=operator-1", "--pod-uid=3f9c"];
    let (first, second) = (read(&flags).0.lease("1")?, read(&flags).0.lease("2")?);
    assert_eq!(first.identity, "operator-1_3f9c-external-cert-manager-controller");
    assert_eq!(first.identity, second.identity, "the former process of a Pod has ended");
    let (first, second) = (read(&["--pod-uid="]).0.lease("1")?, read(&["--pod-uid="]).0.lease("2")?);
    assert_ne!(first.identity, second.identity, "without a Pod, each process is another one");
    Ok(())
}

#[test]
fn leader_stops_before_another_may_begin() {
    let lease = |flags: &[&str]| read(flags).0.lease("1");
    assert!(lease(&[]).is_ok(), "the defaults are valid");
    // The defaults of cert-manager.
    let minute = ["--leader-election-lease-duration=60s", "--leader-election-renew-deadline=40s"];
    assert!(lease(&[&minute[..], &["--leader-election-retry-period=15s"]].concat()).is_ok());
    let error = lease(&["--leader-election-renew-deadline=15s"]).expect_err("no margin").to_string();
    assert!(error.contains("at least 1s shorter than --leader-election-lease-duration"), "{error}");
    assert!(lease(&["--leader-election-retry-period=10s"]).is_err());
    assert!(lease(&["--leader-election-retry-period=0s"]).is_err());
}

#[test]
fn command_line_definition_is_valid() {
    Arguments::command().debug_assert();
}
