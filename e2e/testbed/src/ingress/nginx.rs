//! ingress-nginx: its controller from its Go module, and Debian's nginx, which lacks some of the modules and Lua libraries of the
//! published image. So there is no session affinity, no TCP or UDP service, no global rate limit, and no Service of type `ExternalName`.
//! Its webhook checks every Ingress. Next: `manifests/ingress-nginx.yaml`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use hyper::StatusCode;
use serde_json::json;
use tokio::time::sleep;
use xtask::image::{Image, ImageFile};

use super::{
    await_rollout,
    files::{file, files_of, libraries},
};
use crate::{
    cluster::{Cluster, NODE_ADDRESS},
    http::{self, Trust},
    pki::Authority,
    tools::{Tool, Tools, replace_each},
};

const MODULE: &str = "k8s.io/ingress-nginx";
const NAMESPACE: &str = "ingress-nginx";
const IMAGE: &str = "localhost/ingress-nginx:testbed";

/// The numeric user of the published image.
const USER: &str = "101:82";

/// The name of the webhook's Service.
const WEBHOOK: &str = "ingress-nginx-controller-admission";

/// How long it may take until the first request is answered, once the Pod is ready.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The Lua libraries that Debian lacks, and where the controller finds ours.
const LIBRARIES: &[(&str, &str)] = &[
    ("chash", include_str!("../../tools/ingressnginx/lua/chash.lua")),
    ("lock", include_str!("../../tools/ingressnginx/lua/lock.lua")),
    ("roundrobin", include_str!("../../tools/ingressnginx/lua/roundrobin.lua")),
    ("cookie", MISSING),
    ("dns/resolver", MISSING),
    ("global_throttle", MISSING),
    ("http", MISSING),
    ("ipmatcher", MISSING),
];

const MISSING: &str = include_str!("../../tools/ingressnginx/lua/missing.lua");

/// Changes to the template of nginx.conf: Debian's nginx loads modules that are a part of the published one, and has no Lua for
/// streams. Something has to listen on the port of the streams' configuration.
const TEMPLATE: &[(&str, &str)] = &[
    (
        "daemon off;",
        "load_module /usr/lib/nginx/modules/ndk_http_module.so;\n\
         load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;\n\
         load_module /usr/lib/nginx/modules/ngx_http_headers_more_filter_module.so;\n\
         load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
         daemon off;",
    ),
    (
        "\nstream {\n",
        "\nstream { server { listen 127.0.0.1:{{ .StreamPort }}; proxy_pass 127.0.0.1:{{ .StatusPort }}; } }\n\
         {{ if false }}\nstream {\n",
    ),
    (
        "{{/* definition of templates to avoid repetitions */}}",
        "{{ end }}\n{{/* definition of templates to avoid repetitions */}}",
    ),
];

/// Starts ingress-nginx, and waits until it answers requests and checks Ingresses.
pub(crate) async fn start(cluster: &Cluster) -> Result<()> {
    let module = cluster.tools().module_of(Tool::IngressNginx, MODULE).await?;
    let written = tempfile::tempdir()?;
    let files = files(cluster.tools(), &module, written.path())?;
    let entrypoint = vec!["/nginx-ingress-controller".to_owned()];
    cluster
        .load(&Image { reference: IMAGE.to_owned(), files, entrypoint, user: USER, compressed: false })
        .await?;

    let published = module.join("deploy/static/provider/baremetal/deploy.yaml");
    let published =
        fs::read_to_string(&published).with_context(|| format!("failed to read {}", published.display()))?;
    cluster.apply(&kept(&published)?).await?;
    let authority = Authority::new("ingress-nginx")?;
    let served = authority.server(WEBHOOK, &[&format!("{WEBHOOK}.{NAMESPACE}.svc")], &[])?;
    let certificate = json!({ "cert": served.certificate, "key": served.key });
    let manifest = include_str!("../../manifests/ingress-nginx.yaml")
        .replace("$CLASS", cluster.ingress_class())
        .replace("$IMAGE", IMAGE)
        .replace("$CERTIFICATE", &certificate.to_string());
    cluster.apply(&manifest).await?;
    await_rollout(cluster, NAMESPACE, "deployment/ingress-nginx-controller").await?;
    let webhook = include_str!("../../manifests/ingress-nginx-webhook.yaml")
        .replace("$CA_BUNDLE", &BASE64_STANDARD.encode(authority.certificate()));
    cluster.apply(&webhook).await?;
    await_answers(cluster).await
}

/// The files of the image. Those that are written for it are in `folder`.
fn files(tools: &Tools, module: &Path, folder: &Path) -> Result<Vec<ImageFile>> {
    let root = tools.packages_of(Tool::Nginx)?;
    let mut files = vec![
        file(tools.path(Tool::IngressNginx), "nginx-ingress-controller"),
        file(root.join("etc/nginx/mime.types"), "etc/nginx/mime.types"),
    ];
    for part in ["lib", "usr/lib", "usr/sbin", "usr/share/lua"] {
        files.extend(files_of(&root.join(part), Path::new(part))?);
    }
    let own = library_folders(&root)?;
    let is_linked =
        |it: &&ImageFile| it.target.ends_with("nginx") || it.target.extension() == Some("so".as_ref());
    let linked: Vec<_> = files.iter().filter(is_linked).map(|it| it.source.clone()).collect();
    for program in linked {
        files.extend(libraries(&program, &own)?);
    }

    let configuration = module.join("rootfs/etc/nginx");
    let lua = Path::new("etc/nginx/lua");
    files.extend(files_of(&configuration.join("lua"), lua)?);
    // The controller replaces it.
    files
        .push(ImageFile { writable: true, ..file(configuration.join("nginx.conf"), "etc/nginx/nginx.conf") });
    let mut write = |target: PathBuf, content: &str| -> Result<()> {
        let source = folder.join(files.len().to_string());
        fs::write(&source, content).with_context(|| format!("failed to write {}", source.display()))?;
        files.push(file(source, target));
        Ok(())
    };
    for (name, content) in LIBRARIES {
        write(lua.join(format!("resty/{name}.lua")), content)?;
    }
    let template = configuration.join("template/nginx.tmpl");
    let mut content =
        fs::read_to_string(&template).with_context(|| format!("failed to read {}", template.display()))?;
    replace_each(&mut content, TEMPLATE).with_context(|| {
        format!("failed to edit {}. Adapt the testbed's ingress/nginx.rs", template.display())
    })?;
    write("etc/nginx/template/nginx.tmpl".into(), &content)?;
    files.sort_by(|a, b| a.target.cmp(&b.target));
    files.dedup_by(|a, b| a.target == b.target);
    Ok(files)
}

/// The folders of libraries in unpacked packages, such as `usr/lib/x86_64-linux-gnu`.
fn library_folders(root: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for parent in ["lib", "usr/lib"] {
        for entry in fs::read_dir(root.join(parent))? {
            folders.extend(Some(entry?.path()).filter(|path| path.to_string_lossy().ends_with("-linux-gnu")));
        }
    }
    Ok(folders)
}

/// The accounts and rights of the published manifest, and the Service of the webhook.
fn kept(published: &str) -> Result<String> {
    let kinds = ["Namespace", "ServiceAccount", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"];
    let is_kept = |object: &&str| {
        let has = |line: &str| object.lines().any(|it| it == line);
        let is_right = kinds.iter().any(|kind| has(&format!("kind: {kind}")));
        let of_jobs = has("    app.kubernetes.io/component: admission-webhook");
        (is_right && !of_jobs) || (has("kind: Service") && has(&format!("  name: {WEBHOOK}")))
    };
    let objects: Vec<_> = published.split("\n---\n").filter(is_kept).collect();
    ensure!(
        objects.len() == kinds.len() + 1,
        "the manifest of ingress-nginx has {} of the objects that are needed, not {}: adapt the testbed's \
         ingress/nginx.rs",
        objects.len(),
        kinds.len() + 1
    );
    Ok(objects.join("\n---\n"))
}

/// Waits until nginx answers, and until the webhook rejects an Ingress that it must reject.
async fn await_answers(cluster: &Cluster) -> Result<()> {
    let class = format!("--class={}", cluster.ingress_class());
    let rejected = ["create", "ingress", "rejected", &class, "--rule=rejected.example.test/with.dot=web:80"];
    let url = format!("http://{NODE_ADDRESS}/");
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let answer = http::get(&cluster.network(), &url, &Trust::Nothing).await;
        let checked = cluster.kubectl().args(rejected).arg("--dry-run=server").output().await?;
        let checked = xtask::process::text(&checked);
        let is_up = answer.as_ref().is_ok_and(|it| it.status() == StatusCode::NOT_FOUND);
        if is_up && checked.contains("invalid paths") {
            return Ok(());
        }
        if Instant::now() > deadline {
            let logs = ["logs", "--tail=15", "--namespace", NAMESPACE, "deployment/ingress-nginx-controller"];
            let logs = cluster.kubectl().args(logs).output().await?;
            bail!(
                "waited {} s for ingress-nginx: it answered {answer:?}, and its webhook {checked:?}. Its log ends with\n{}",
                TIMEOUT.as_secs(),
                xtask::process::text(&logs)
            );
        }
        sleep(Duration::from_millis(100)).await;
    }
}
