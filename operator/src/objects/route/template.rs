//! Which annotations an `ingressTemplate` may set. Next: `ingress.rs`, which sets them.

use crds::acme::IngressSolver;

/// Parts of the names of annotations that add text to an ingress controller's configuration, run code in it, or claim other hosts.
const REFUSED: [&str; 5] = ["snippet", "lua", "script", "server-alias", "config-"];

/// The first annotation of a solver's template that is refused from a tenant: policies about Ingresses often exempt the operator.
pub fn refused_annotation(solver: &IngressSolver) -> Option<&str> {
    let metadata = solver.ingress_template.as_ref()?.metadata.as_ref()?;
    let names = metadata.annotations.iter().flat_map(|annotations| annotations.keys());
    names.map(String::as_str).find(|name| is_refused(name))
}

fn is_refused(annotation: &str) -> bool {
    let name = annotation.rsplit('/').next().unwrap_or_default().to_lowercase();
    REFUSED.iter().any(|refused| name.contains(refused))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_with_code_are_refused() {
        for name in [
            "nginx.ingress.kubernetes.io/configuration-snippet",
            "nginx.ingress.kubernetes.io/server-snippet",
            "nginx.ingress.kubernetes.io/auth-snippet",
            "nginx.ingress.kubernetes.io/modsecurity-snippet",
            "nginx.ingress.kubernetes.io/server-alias",
            "nginx.org/location-snippets",
            "haproxy.org/backend-config-snippet",
            "haproxy-ingress.github.io/config-backend",
            "example.test/Lua-File",
        ] {
            assert!(is_refused(name), "{name}");
        }
        for name in [
            "nginx.ingress.kubernetes.io/ssl-redirect",
            "nginx.ingress.kubernetes.io/whitelist-source-range",
            "kubernetes.io/ingress.class",
            "traefik.ingress.kubernetes.io/router.entrypoints",
            "alb.ingress.kubernetes.io/scheme",
            "snippets.example.test/note",
        ] {
            assert!(!is_refused(name), "{name}");
        }
    }
}
