//! All annotations, labels, finalizers, and Secret data keys of the API, each in one place.
//!
//! Except where noted, they are cert-manager's: users, tools, and NetworkPolicies rely on their exact spelling.

/// Prefix of the annotations of the core group. On a CertificateRequest they are immutable.
pub const PREFIX: &str = "cert-manager.io/";
/// Prefix of the annotations of the ACME group. On a CertificateRequest they are immutable.
pub const ACME_PREFIX: &str = "acme.cert-manager.io/";

/// Annotations that users set on an Ingress or Gateway to request Certificates and configure them.
pub mod source {
    /// Name of an Issuer in the same namespace; requests a Certificate for each TLS block.
    pub const ISSUER: &str = "cert-manager.io/issuer";
    /// Name of a ClusterIssuer; requests a Certificate for each TLS block.
    pub const CLUSTER_ISSUER: &str = "cert-manager.io/cluster-issuer";
    /// Kind of the issuer that [`ISSUER`] names, for external issuers.
    pub const ISSUER_KIND: &str = "cert-manager.io/issuer-kind";
    /// Group of the issuer that [`ISSUER`] names, for external issuers.
    pub const ISSUER_GROUP: &str = "cert-manager.io/issuer-group";
    /// `"true"` requests Certificates from the operator's default issuer.
    pub const TLS_ACME: &str = "kubernetes.io/tls-acme";
    /// `spec.commonName`, at most 64 bytes.
    pub const COMMON_NAME: &str = "cert-manager.io/common-name";
    /// Additional DNS names, comma-separated.
    pub const ALT_NAMES: &str = "cert-manager.io/alt-names";
    /// IP addresses, comma-separated.
    pub const IP_SANS: &str = "cert-manager.io/ip-sans";
    /// Email addresses, comma-separated.
    pub const EMAIL_SANS: &str = "cert-manager.io/email-sans";
    /// `spec.subject.organizations`, as CSV (values may be quoted).
    pub const SUBJECT_ORGANIZATIONS: &str = "cert-manager.io/subject-organizations";
    /// `spec.subject.organizationalUnits`, as CSV (values may be quoted).
    pub const SUBJECT_ORGANIZATIONAL_UNITS: &str = "cert-manager.io/subject-organizationalunits";
    /// `spec.subject.countries`, as CSV (values may be quoted).
    pub const SUBJECT_COUNTRIES: &str = "cert-manager.io/subject-countries";
    /// `spec.subject.provinces`, as CSV (values may be quoted).
    pub const SUBJECT_PROVINCES: &str = "cert-manager.io/subject-provinces";
    /// `spec.subject.localities`, as CSV (values may be quoted).
    pub const SUBJECT_LOCALITIES: &str = "cert-manager.io/subject-localities";
    /// `spec.subject.postalCodes`, as CSV (values may be quoted).
    pub const SUBJECT_POSTAL_CODES: &str = "cert-manager.io/subject-postalcodes";
    /// `spec.subject.streetAddresses`, as CSV (values may be quoted).
    pub const SUBJECT_STREET_ADDRESSES: &str = "cert-manager.io/subject-streetaddresses";
    /// `spec.subject.serialNumber`.
    pub const SUBJECT_SERIAL_NUMBER: &str = "cert-manager.io/subject-serialnumber";
    /// `spec.duration`, as a Go duration.
    pub const DURATION: &str = "cert-manager.io/duration";
    /// `spec.renewBefore`, as a Go duration.
    pub const RENEW_BEFORE: &str = "cert-manager.io/renew-before";
    /// `spec.renewBeforePercentage`.
    pub const RENEW_BEFORE_PERCENTAGE: &str = "cert-manager.io/renew-before-percentage";
    /// `spec.usages`, comma-separated.
    pub const USAGES: &str = "cert-manager.io/usages";
    /// `spec.revisionHistoryLimit`.
    pub const REVISION_HISTORY_LIMIT: &str = "cert-manager.io/revision-history-limit";
    /// `spec.privateKey.algorithm`.
    pub const PRIVATE_KEY_ALGORITHM: &str = "cert-manager.io/private-key-algorithm";
    /// `spec.privateKey.encoding`.
    pub const PRIVATE_KEY_ENCODING: &str = "cert-manager.io/private-key-encoding";
    /// `spec.privateKey.size`.
    pub const PRIVATE_KEY_SIZE: &str = "cert-manager.io/private-key-size";
    /// `spec.privateKey.rotationPolicy`.
    pub const PRIVATE_KEY_ROTATION_POLICY: &str = "cert-manager.io/private-key-rotation-policy";
    /// `spec.secretTemplate`, as a JSON object; unknown members are rejected.
    pub const SECRET_TEMPLATE: &str = "cert-manager.io/secret-template";
    /// Names of the Gateway's listeners to ignore, comma-separated.
    pub const IGNORE_TLS_LISTENERS: &str = "cert-manager.io/ignore-tls-listeners";
    /// On a ListenerSet: `"true"` attaches the challenge's HTTPRoute to its Gateway, because its own listeners may all be for TLS.
    pub const HTTP01_PARENT_REF_FALLBACK: &str = "acme.cert-manager.io/http01-parentreffallback";
    /// On a Gateway or ListenerSet: `"true"` stores a self-signed certificate in each Secret until the first one is issued.
    pub const ISSUE_TEMPORARY_CERTIFICATE: &str = super::request::ISSUE_TEMPORARY_CERTIFICATE;
    /// `"true"` adds the challenge's path to this Ingress instead of creating a new one.
    pub const HTTP01_EDIT_IN_PLACE: &str = "acme.cert-manager.io/http01-edit-in-place";
    /// Class of the challenge's Ingress, set as its class annotation.
    pub const HTTP01_INGRESS_CLASS: &str = "acme.cert-manager.io/http01-ingress-class";
    /// Class of the challenge's Ingress, set as its `spec.ingressClassName`.
    pub const HTTP01_INGRESS_CLASS_NAME: &str = "acme.cert-manager.io/http01-ingress-ingressclassname";
}

/// Annotations of Certificates and CertificateRequests, most of which are copied from the Certificate to its
/// CertificateRequests and Orders, where they override fields of the solver.
pub mod request {
    /// On a CertificateRequest: name of the Certificate that it belongs to.
    pub const CERTIFICATE_NAME: &str = "cert-manager.io/certificate-name";
    /// On a CertificateRequest: revision of the Certificate that it issues.
    pub const CERTIFICATE_REVISION: &str = "cert-manager.io/certificate-revision";
    /// On a CertificateRequest: name of the Secret that stores the private key of the CSR.
    pub const PRIVATE_KEY_SECRET_NAME: &str = "cert-manager.io/private-key-secret-name";
    /// On a Certificate: `"true"` stores a self-signed certificate in the Secret until the first one is issued.
    pub const ISSUE_TEMPORARY_CERTIFICATE: &str = "cert-manager.io/issue-temporary-certificate";
    /// Name of the Ingress to which the challenge's path is added.
    pub const OVERRIDE_INGRESS_NAME: &str = "acme.cert-manager.io/http01-override-ingress-name";
    /// Class of the challenge's Ingress, set as its class annotation.
    pub const OVERRIDE_INGRESS_CLASS: &str = "acme.cert-manager.io/http01-override-ingress-class";
    /// Class of the challenge's Ingress, set as its `spec.ingressClassName`.
    pub const OVERRIDE_INGRESS_CLASS_NAME: &str =
        "acme.cert-manager.io/http01-override-ingress-ingressclassname";
    /// On a CertificateRequest and an Order: ARI identifier of the certificate to be replaced (RFC 9773 section 4.1).
    /// Specific to this operator.
    pub const REPLACES: &str = "acme.cert-manager.io/replaces";
    /// Kind of the resource that the challenge's HTTPRoute attaches to.
    pub const PARENT_REF_KIND: &str = "acme.cert-manager.io/http01-parentrefkind";
    /// Name of the resource that the challenge's HTTPRoute attaches to.
    pub const PARENT_REF_NAME: &str = "acme.cert-manager.io/http01-parentrefname";
    /// Namespace of the resource that the challenge's HTTPRoute attaches to.
    pub const PARENT_REF_NAMESPACE: &str = "acme.cert-manager.io/http01-parentrefnamespace";
}

/// Annotations of Issuers and ClusterIssuers, and of Namespaces for them.
pub mod issuer {
    /// On a ClusterIssuer: the namespaces that may use it, as a label selector in JSON such as
    /// `{"matchLabels":{"team":"web"}}`. Specific to this operator.
    pub const ALLOWED_NAMESPACES: &str = "acme.cert-manager.io/allowed-namespaces";
    /// On a ClusterIssuer: `"true"` limits each namespace to the zones in its annotation [`ALLOWED_DNS_ZONES`]. Specific to
    /// this operator.
    pub const RESTRICT_DNS_ZONES: &str = "acme.cert-manager.io/restrict-dns-zones";
    /// On a Namespace: the DNS zones that it may use with such a ClusterIssuer, comma-separated. A zone includes its
    /// subdomains. Specific to this operator.
    pub const ALLOWED_DNS_ZONES: &str = "acme.cert-manager.io/allowed-dns-zones";
    /// Number of new orders (not renewals) that the CA allows this account in three hours, as a decimal number greater
    /// than zero. For accounts with a raised limit, and for CAs that do not publish one. Specific to this operator.
    pub const NEW_ORDERS_PER_3_HOURS: &str = "acme.cert-manager.io/new-orders-per-3-hours";
}

/// Annotations of Orders.
pub mod order {
    /// URL of the ACME account that the order is placed with. No other account can complete it. Specific to this operator.
    pub const ACCOUNT: &str = "acme.cert-manager.io/account";
}

/// Labels, annotations, and data keys of Secrets that store certificates and keys.
pub mod secret {
    /// Label `"true"` of every Secret that the operator watches.
    pub const FULL_ACCESS_LABEL: &str = "controller.cert-manager.io/fao";
    /// Label `"true"` of a Secret that stores a next key: the private key of an issuance in progress.
    pub const NEXT_PRIVATE_KEY_LABEL: &str = "cert-manager.io/next-private-key";
    /// Name of the Certificate that the Secret belongs to.
    pub const CERTIFICATE_NAME: &str = "cert-manager.io/certificate-name";
    /// Name of the issuer.
    pub const ISSUER_NAME: &str = "cert-manager.io/issuer-name";
    /// Kind of the issuer.
    pub const ISSUER_KIND: &str = "cert-manager.io/issuer-kind";
    /// Group of the issuer.
    pub const ISSUER_GROUP: &str = "cert-manager.io/issuer-group";
    /// Common name of the leaf; present even if empty.
    pub const COMMON_NAME: &str = "cert-manager.io/common-name";
    /// DNS names of the leaf, comma-separated; present even if empty.
    pub const ALT_NAMES: &str = "cert-manager.io/alt-names";
    /// IP addresses of the leaf, comma-separated; present even if empty.
    pub const IP_SANS: &str = "cert-manager.io/ip-sans";
    /// URIs of the leaf, comma-separated; present even if empty.
    pub const URI_SANS: &str = "cert-manager.io/uri-sans";
    /// The only annotation under [`PREFIX`](super::PREFIX) that `spec.secretTemplate` may set.
    pub const ALLOW_DIRECT_INJECTION: &str = "cert-manager.io/allow-direct-injection";
    /// Data key of the certificate chain, PEM, leaf first.
    pub const TLS_CRT: &str = "tls.crt";
    /// Data key of the private key, PEM.
    pub const TLS_KEY: &str = "tls.key";
    /// Data key of the CA's certificate, PEM. ACME issuers never set it.
    pub const CA_CRT: &str = "ca.crt";
    /// Data key of the private key in DER, for the output format `DER`.
    pub const KEY_DER: &str = "key.der";
    /// Data key of private key, newline, and certificate chain, for the output format `CombinedPEM`.
    pub const TLS_COMBINED_PEM: &str = "tls-combined.pem";
}

/// Finalizers of Challenges, and labels of the objects that route them.
pub mod challenge {
    /// Finalizer of a Challenge: the operator removes the route before the Challenge is deleted.
    pub const FINALIZER: &str = "acme.cert-manager.io/finalizer";
    /// Finalizer that old versions of cert-manager set, with the same effect.
    pub const LEGACY_FINALIZER: &str = "finalizer.acme.cert-manager.io";
    /// Label `"true"` of every object that routes challenges.
    pub const SOLVER_LABEL: &str = "acme.cert-manager.io/http01-solver";
    /// Label with the Adler-32 checksum of the DNS name, decimal.
    pub const DOMAIN_LABEL: &str = "acme.cert-manager.io/http-domain";
    /// Label with the Adler-32 checksum of the token, decimal.
    pub const TOKEN_LABEL: &str = "acme.cert-manager.io/http-token";
}

/// Annotation with the class of an Ingress, the predecessor of `spec.ingressClassName`.
pub const INGRESS_CLASS: &str = "kubernetes.io/ingress.class";

/// Label `"true"` of a namespace that cert-manager's webhook ignores. Without a webhook, it has no effect.
pub const DISABLE_VALIDATION: &str = "cert-manager.io/disable-validation";
