//! The programs of our users can read what we write: the Go standard library, the Go libraries that cert-manager writes
//! keystores with, OpenSSL, and keytool from Java. The chain comes from a real Pebble.

mod support;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use crds::certmanager::KeyUsage;
use operator::pki::{
    self, Authorities, CsrRequest, Curve, KeyEncoding, KeyKind, OtherName, Pkcs12Profile, PrivateKey, Subject,
};
use support::{Issued, World, order};
use testbed::{
    paths,
    pebble::Settings,
    pki::Authority,
    tools::{Tool, Tools},
};

const PASSWORD: &str = "pässword with spaces";
const KINDS: [(KeyKind, &str); 7] = [
    (KeyKind::Rsa { bits: 2048 }, "RSA 2048"),
    (KeyKind::Rsa { bits: 3072 }, "RSA 3072"),
    (KeyKind::Rsa { bits: 4096 }, "RSA 4096"),
    (KeyKind::Ecdsa(Curve::P256), "ECDSA P-256"),
    (KeyKind::Ecdsa(Curve::P384), "ECDSA P-384"),
    (KeyKind::Ecdsa(Curve::P521), "ECDSA P-521"),
    (KeyKind::Ed25519, "Ed25519"),
];

fn run(program: &Path, arguments: &[&str], input: &[u8]) -> Result<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start {}", program.display()))?;
    child.stdin.take().context("no stdin")?.write_all(input)?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let [stdout, stderr] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        bail!("{} {arguments:?}: {stdout}{stderr}", program.display());
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

fn reader() -> Result<PathBuf> {
    Ok(Tools::seen_at(paths::cache()?).path(Tool::PkiReader))
}

#[test]
fn go_reads_every_key_encoding() -> Result<()> {
    // RSA 8192 takes seconds to generate, so the other tests leave it out.
    for (kind, name) in KINDS.into_iter().chain([(KeyKind::Rsa { bits: 8192 }, "RSA 8192")]) {
        let key = PrivateKey::generate(kind)?;
        for encoding in [KeyEncoding::Traditional, KeyEncoding::Pkcs8] {
            let output = run(&reader()?, &["key"], key.to_pem(encoding)?.as_bytes())?;
            ensure!(output == name, "{name} {encoding:?}: {output}");
        }
    }
    Ok(())
}

#[test]
fn go_reads_every_csr() -> Result<()> {
    for (kind, name) in KINDS {
        let request = CsrRequest {
            subject: Subject::Literal("CN=a.example.test,OU=x+OU=y,O=Example".to_owned()),
            dns_names: vec!["a.example.test".to_owned(), "*.b.example.test".to_owned()],
            ip_addresses: vec!["192.0.2.1".parse()?, "2001:db8::1".parse()?],
            uris: vec!["spiffe://example.test/a".to_owned()],
            email_addresses: vec!["alice@example.test".to_owned()],
            other_names: vec![OtherName {
                oid: "1.3.6.1.4.1.311.20.2.3".to_owned(),
                value: "user".to_owned(),
            }],
            usages: vec![KeyUsage::DigitalSignature, KeyUsage::KeyEncipherment, KeyUsage::ServerAuth],
            ..CsrRequest::default()
        };
        let output = run(&reader()?, &["csr"], request.sign_pem(&PrivateKey::generate(kind)?)?.as_bytes())?;
        for part in [
            "CN=a.example.test",
            "OU=x+OU=y",
            "dns=[a.example.test *.b.example.test]",
            "ip=[192.0.2.1 2001:db8::1]",
            "uri=[spiffe://example.test/a]",
            "email=[alice@example.test]",
        ] {
            ensure!(output.contains(part), "{name}: {part} is missing in {output}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn go_and_openssl_read_keystores() -> Result<()> {
    let world = World::new(&Settings::calm()).await?;
    let account = world.account(KeyKind::Ecdsa(Curve::P256)).await?;
    let Issued { chain, key } = world.issue(&account, &order(&["store.example.test"])).await?;
    let expected = "ECDSA P-256 dns=[store.example.test] and 1 more";
    for profile in [
        Pkcs12Profile::Modern2026,
        Pkcs12Profile::Modern2023,
        Pkcs12Profile::LegacyDes,
        Pkcs12Profile::LegacyRc2,
    ] {
        let store = pki::pkcs12(profile, PASSWORD, &key, &chain, &Authorities::default())?;
        let output = run(&reader()?, &["pkcs12", PASSWORD], &store)?;
        ensure!(output == expected, "{profile:?}: {output}");
        ensure!(
            run(&reader()?, &["pkcs12", "wrong"], &store).is_err(),
            "{profile:?} opens with a wrong password"
        );
        let password = format!("pass:{PASSWORD}");
        let mut arguments = vec!["pkcs12", "-nodes", "-passin", &password];
        match profile {
            Pkcs12Profile::LegacyDes | Pkcs12Profile::LegacyRc2 => arguments.push("-legacy"),
            Pkcs12Profile::Modern2023 => {}
            // OpenSSL verifies PBMAC1 from version 3.4 on. Every version reads the content.
            Pkcs12Profile::Modern2026 => arguments.push("-nomacver"),
        }
        let output = run(Path::new("openssl"), &arguments, &store)?;
        ensure!(
            output.matches("BEGIN CERTIFICATE").count() == 2 && output.contains("BEGIN PRIVATE KEY"),
            "{output}"
        );
    }
    let now = "2026-01-01T00:00:00Z".parse()?;
    // The Go library treats bytes as characters, so it agrees with Java on ASCII only. We follow Java.
    let password = "changeit 123";
    let store = pki::jks(password, "Certificate", &key, &chain, &Authorities::default(), now)?;
    let output = run(&reader()?, &["jks", password], &store)?;
    ensure!(output == format!("certificate: {expected}"), "{output}");
    ensure!(run(&reader()?, &["jks", "wrong"], &store).is_err());
    Ok(())
}

/// cert-manager's keystores match the spec that they were written for: otherwise each would be rewritten at the takeover.
#[tokio::test]
async fn keystores_of_cert_manager_match() -> Result<()> {
    let world = World::new(&Settings::calm()).await?;
    let account = world.account(KeyKind::Ecdsa(Curve::P256)).await?;
    let Issued { chain, key } = world.issue(&account, &order(&["store.example.test"])).await?;
    let password = "changeit 123";
    let store = pki::pkcs12(Pkcs12Profile::Modern2023, password, &key, &chain, &Authorities::default())?;
    let output = run(&reader()?, &["encode", password], &store)?;
    let mut stores = 0;
    for line in output.lines() {
        let (name, store) = line.split_once(' ').context("no name")?;
        let store = BASE64_STANDARD.decode(store)?;
        let matches = |password: &str| match name {
            "jks" => pki::jks_matches(&store, "certificate", password),
            "LegacyDES" => pki::pkcs12_matches(&store, Pkcs12Profile::LegacyDes, password),
            "LegacyRC2" => pki::pkcs12_matches(&store, Pkcs12Profile::LegacyRc2, password),
            "Modern2023" => pki::pkcs12_matches(&store, Pkcs12Profile::Modern2023, password),
            _ => pki::pkcs12_matches(&store, Pkcs12Profile::Modern2026, password),
        };
        ensure!(matches(password) && !matches("another"), "{name}");
        stores += 1;
    }
    ensure!(stores == 5, "{output}");
    Ok(())
}

/// keytool lists the keystore with its password only, and imports the key.
#[tokio::test]
async fn java_reads_keystores_and_imports_the_key() -> Result<()> {
    let world = World::new(&Settings::calm()).await?;
    let account = world.account(KeyKind::Ecdsa(Curve::P256)).await?;
    let Issued { chain, key } = world.issue(&account, &order(&["java.example.test"])).await?;
    let now = "2026-01-01T00:00:00Z".parse()?;
    // Java accepts only ASCII passwords for PKCS#12.
    let ascii = "changeit 123";
    let stores = [
        ("JKS", PASSWORD, pki::jks(PASSWORD, "Certificate", &key, &chain, &Authorities::default(), now)?),
        (
            "PKCS12",
            ascii,
            pki::pkcs12(Pkcs12Profile::Modern2023, ascii, &key, &chain, &Authorities::default())?,
        ),
        (
            "PKCS12",
            ascii,
            pki::pkcs12(Pkcs12Profile::LegacyDes, ascii, &key, &chain, &Authorities::default())?,
        ),
        (
            "PKCS12",
            ascii,
            pki::pkcs12(Pkcs12Profile::LegacyRc2, ascii, &key, &chain, &Authorities::default())?,
        ),
    ];
    for (number, (r#type, password, store)) in stores.into_iter().enumerate() {
        let folder = tempfile::tempdir()?;
        let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
        std::fs::write(&ours, store)?;
        let (ours, theirs) = (ours.to_string_lossy(), theirs.to_string_lossy());
        let listed =
            keytool(&["-list", "-v", "-keystore", &ours, "-storetype", r#type, "-storepass", password])?;
        for part in ["PrivateKeyEntry", "Certificate chain length: 2", "DNSName: java.example.test"] {
            ensure!(listed.contains(part), "{type} {number}: {part} is missing in {listed}");
        }
        let wrong =
            keytool(&["-list", "-keystore", &ours, "-storetype", r#type, "-storepass", "wrong password"]);
        ensure!(wrong.is_err(), "{type} {number} opens with a wrong password");
        let from =
            ["-importkeystore", "-srckeystore", &ours, "-srcstoretype", r#type, "-srcstorepass", password];
        let to = ["-destkeystore", &theirs, "-deststoretype", "PKCS12", "-deststorepass", "changeit"];
        keytool(&[&from[..], &to].concat())?;
        let output = run(&reader()?, &["pkcs12", "changeit"], &std::fs::read(&*theirs)?)?;
        ensure!(output == "ECDSA P-256 dns=[java.example.test] and 1 more", "{type} {number}: {output}");
    }
    Ok(())
}

/// keytool finds the CA in truststores, and in the keystore beside the key, and Go finds it in truststores.
#[tokio::test]
async fn java_trusts_the_ca_of_an_issuer() -> Result<()> {
    let world = World::new(&Settings::calm()).await?;
    let account = world.account(KeyKind::Ecdsa(Curve::P256)).await?;
    let Issued { chain, key } = world.issue(&account, &order(&["java.example.test"])).await?;
    let names = ["First", "Second"];
    let certificates: Vec<_> =
        names.iter().map(|name| Ok(Authority::new(name)?.certificate().to_owned())).collect::<Result<_>>()?;
    let authorities = Authorities::from_pem(certificates.concat().as_bytes());
    let (now, password) = ("2026-01-01T00:00:00Z".parse()?, "changeit 123");
    let trusted = ["Your keystore contains 2 entries", "trustedCertEntry", "CN=First", "CN=Second"];
    let with_key = ["PrivateKeyEntry", "Your keystore contains 3 entries", "trustedCertEntry", "CN=Second"];
    let mut stores = vec![
        ("JKS", pki::jks_trust(password, &authorities, now)?, &trusted),
        ("JKS", pki::jks(password, "key", &key, &chain, &authorities, now)?, &with_key),
    ];
    for profile in [
        Pkcs12Profile::Modern2026,
        Pkcs12Profile::Modern2023,
        Pkcs12Profile::LegacyDes,
        Pkcs12Profile::LegacyRc2,
    ] {
        let store = pki::pkcs12_trust(profile, password, &authorities)?;
        let output = run(&reader()?, &["truststore", password], &store)?;
        ensure!(output == "CN=First CN=Second", "{profile:?}: {output}");
        ensure!(run(&reader()?, &["truststore", "wrong"], &store).is_err(), "{profile:?}");
        // Java verifies PBMAC1 from version 26 on.
        if profile != Pkcs12Profile::Modern2026 {
            stores.push(("PKCS12", store, &trusted));
        }
    }
    for (number, (r#type, store, parts)) in stores.into_iter().enumerate() {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("store");
        std::fs::write(&path, store)?;
        let path = path.to_string_lossy();
        let listed =
            keytool(&["-list", "-v", "-keystore", &path, "-storetype", r#type, "-storepass", password])?;
        for part in parts {
            ensure!(listed.contains(part), "{type} {number}: {part} is missing in {listed}");
        }
    }
    let store = pki::pkcs12(Pkcs12Profile::Modern2023, password, &key, &chain, &authorities)?;
    let output = run(&reader()?, &["pkcs12", password], &store)?;
    ensure!(output == "ECDSA P-256 dns=[java.example.test] and 3 more", "{output}");
    Ok(())
}

/// Runs keytool, which decodes its arguments by the locale.
fn keytool(arguments: &[&str]) -> Result<String> {
    let environment = ["LC_ALL=C.UTF-8", "keytool", "-J-Xshare:auto", "-J-Xmx64m"];
    run(Path::new("env"), &[&environment[..], arguments].concat(), &[])
}
