//! By which names the role of an approver grants the approval of requests to an issuer.

use crds::meta::IssuerRef;

/// The names of the resource `signers` in the group cert-manager.io. The verb `approve` on any of them allows the approval of
/// requests to an issuer of another group. As nothing shows whether such a kind has a namespace, both forms are tried.
pub fn signer_names(issuer: &IssuerRef, namespace: &str) -> [String; 3] {
    let issuer = issuer.identity();
    let signers = format!("{}s.{}", issuer.kind.to_lowercase(), issuer.group);
    [
        format!("{signers}/*"),
        format!("{signers}/{}", issuer.name),
        format!("{signers}/{namespace}.{}", issuer.name),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signers_are_named_as_in_roles() {
        let issuer = IssuerRef {
            group: Some("example.org".to_owned()),
            kind: Some("FooIssuer".to_owned()),
            name: "mine".to_owned(),
        };
        let names =
            ["fooissuers.example.org/*", "fooissuers.example.org/mine", "fooissuers.example.org/web.mine"];
        assert_eq!(signer_names(&issuer, "web"), names);
    }
}
