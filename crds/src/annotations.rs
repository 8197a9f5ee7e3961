//! Every annotation, label, finalizer and data key that we read or write, each once, with what it does.
//!
//! Their spelling is cert-manager's, and users, tools and NetworkPolicies rely on it.

/// Prefix of all annotations of the core group. On a CertificateRequest they can't change after creation.
pub const PREFIX: &str = "cert-manager.io/";
/// Prefix of all annotations of the ACME group. On a CertificateRequest they can't change after creation.
pub const ACME_PREFIX: &str = "acme.cert-manager.io/";

/// What users put on an Ingress or Gateway to get a Certificate.
pub mod source {
    /// Name of an Issuer in the same namespace: makes a Certificate for each TLS block.
    pub const ISSUER: &str = "cert-manager.io/issuer";
    /// Name of a ClusterIssuer: the same.
    pub const CLUSTER_ISSUER: &str = "cert-manager.io/cluster-issuer";
    /// Kind of the issuer that [`ISSUER`] names, for external issuers.
    pub const ISSUER_KIND: &str = "cert-manager.io/issuer-kind";
    /// Group of the issuer that [`ISSUER`] names, for external issuers.
    pub const ISSUER_GROUP: &str = "cert-manager.io/issuer-group";
    /// `"true"`: makes Certificates with the operator's default issuer.
    pub const TLS_ACME: &str = "kubernetes.io/tls-acme";
    /// `spec.commonName`, at most 64 bytes.
    pub const COMMON_NAME: &str = "cert-manager.io/common-name";
    /// More DNS names, comma-separated.
    pub const ALT_NAMES: &str = "cert-manager.io/alt-names";
    /// IP addresses, comma-separated.
    pub const IP_SANS: &str = "cert-manager.io/ip-sans";
    /// E-mail addresses, comma-separated.
    pub const EMAIL_SANS: &str = "cert-manager.io/email-sans";
    /// `spec.subject.organizations`, CSV with quoting.
    pub const SUBJECT_ORGANIZATIONS: &str = "cert-manager.io/subject-organizations";
    /// `spec.subject.organizationalUnits`, CSV with quoting.
    pub const SUBJECT_ORGANIZATIONAL_UNITS: &str = "cert-manager.io/subject-organizationalunits";
    /// `spec.subject.countries`, CSV with quoting.
    pub const SUBJECT_COUNTRIES: &str = "cert-manager.io/subject-countries";
    /// `spec.subject.provinces`, CSV with quoting.
    pub const SUBJECT_PROVINCES: &str = "cert-manager.io/subject-provinces";
    /// `spec.subject.localities`, CSV with quoting.
    pub const SUBJECT_LOCALITIES: &str = "cert-manager.io/subject-localities";
    /// `spec.subject.postalCodes`, CSV with quoting.
    pub const SUBJECT_POSTAL_CODES: &str = "cert-manager.io/subject-postalcodes";
    /// `spec.subject.streetAddresses`, CSV with quoting.
    pub const SUBJECT_STREET_ADDRESSES: &str = "cert-manager.io/subject-streetaddresses";
    /// `spec.subject.serialNumber`.
    pub const SUBJECT_SERIAL_NUMBER: &str = "cert-manager.io/subject-serialnumber";
    /// `spec.duration`, a Go duration.
    pub const DURATION: &str = "cert-manager.io/duration";
    /// `spec.renewBefore`, a Go duration.
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
    /// `spec.secretTemplate`, a JSON object without unknown members.
    pub const SECRET_TEMPLATE: &str = "cert-manager.io/secret-template";
    /// Names of listeners of a Gateway that get no Certificate, comma-separated.
    pub const IGNORE_TLS_LISTENERS: &str = "cert-manager.io/ignore-tls-listeners";
    /// `"true"`: the challenge's path goes into this Ingress instead of a new one.
    pub const HTTP01_EDIT_IN_PLACE: &str = "acme.cert-manager.io/http01-edit-in-place";
    /// The class annotation of the challenge's Ingress.
    pub const HTTP01_INGRESS_CLASS: &str = "acme.cert-manager.io/http01-ingress-class";
    /// The `ingressClassName` of the challenge's Ingress.
    pub const HTTP01_INGRESS_CLASS_NAME: &str = "acme.cert-manager.io/http01-ingress-ingressclassname";
}

/// What goes from a Certificate through CertificateRequest and Order to the solver of a Challenge, or stands on a
/// CertificateRequest.
pub mod request {
    /// On a CertificateRequest: the Certificate it is for.
    pub const CERTIFICATE_NAME: &str = "cert-manager.io/certificate-name";
    /// On a CertificateRequest: which revision of the Certificate it makes.
    pub const CERTIFICATE_REVISION: &str = "cert-manager.io/certificate-revision";
    /// On a CertificateRequest: the Secret with the private key that signed the CSR.
    pub const PRIVATE_KEY_SECRET_NAME: &str = "cert-manager.io/private-key-secret-name";
    /// On a Certificate: a self-signed certificate serves until the real one is there.
    pub const ISSUE_TEMPORARY_CERTIFICATE: &str = "cert-manager.io/issue-temporary-certificate";
    /// The Ingress to edit in place of a new one.
    pub const OVERRIDE_INGRESS_NAME: &str = "acme.cert-manager.io/http01-override-ingress-name";
    /// The class annotation of the challenge's Ingress.
    pub const OVERRIDE_INGRESS_CLASS: &str = "acme.cert-manager.io/http01-override-ingress-class";
    /// The `ingressClassName` of the challenge's Ingress.
    pub const OVERRIDE_INGRESS_CLASS_NAME: &str =
        "acme.cert-manager.io/http01-override-ingress-ingressclassname";
    /// On a CertificateRequest and an Order: the certificate that the new one replaces, as its identifier of RFC 9773
    /// section 4.1. Ours.
    pub const REPLACES: &str = "acme.cert-manager.io/replaces";
    /// Kind of the Gateway object that the challenge's HTTPRoute attaches to.
    pub const PARENT_REF_KIND: &str = "acme.cert-manager.io/http01-parentrefkind";
    /// Its name.
    pub const PARENT_REF_NAME: &str = "acme.cert-manager.io/http01-parentrefname";
    /// Its namespace.
    pub const PARENT_REF_NAMESPACE: &str = "acme.cert-manager.io/http01-parentrefnamespace";
}

/// What stands on Issuers and ClusterIssuers.
pub mod issuer {
    /// How many new orders, which renew nothing, the CA allows the account within three hours, decimal and above zero: where
    /// it allows more than others, or publishes no figure. Ours.
    pub const NEW_ORDERS_PER_3_HOURS: &str = "acme.cert-manager.io/new-orders-per-3-hours";
}

/// What stands on Secrets that hold certificates and keys.
pub mod secret {
    /// Label of every Secret that we watch whole.
    pub const FULL_ACCESS_LABEL: &str = "controller.cert-manager.io/fao";
    /// Label of a Secret with the key of a certificate that is being issued.
    pub const NEXT_PRIVATE_KEY_LABEL: &str = "cert-manager.io/next-private-key";
    /// The Certificate that the Secret is of.
    pub const CERTIFICATE_NAME: &str = "cert-manager.io/certificate-name";
    /// Name of the issuer.
    pub const ISSUER_NAME: &str = "cert-manager.io/issuer-name";
    /// Kind of the issuer.
    pub const ISSUER_KIND: &str = "cert-manager.io/issuer-kind";
    /// Group of the issuer.
    pub const ISSUER_GROUP: &str = "cert-manager.io/issuer-group";
    /// Common name of the leaf; there even when empty.
    pub const COMMON_NAME: &str = "cert-manager.io/common-name";
    /// DNS names of the leaf, comma-separated; there even when empty.
    pub const ALT_NAMES: &str = "cert-manager.io/alt-names";
    /// IP addresses of the leaf, comma-separated; there even when empty.
    pub const IP_SANS: &str = "cert-manager.io/ip-sans";
    /// URIs of the leaf, comma-separated; there even when empty.
    pub const URI_SANS: &str = "cert-manager.io/uri-sans";
    /// The one annotation with our prefix that users may ask for in `spec.secretTemplate`.
    pub const ALLOW_DIRECT_INJECTION: &str = "cert-manager.io/allow-direct-injection";
    /// Data key: the chain, PEM, leaf first.
    pub const TLS_CRT: &str = "tls.crt";
    /// Data key: the private key, PEM.
    pub const TLS_KEY: &str = "tls.key";
    /// Data key: the CA's certificate, PEM. ACME issuers never set it.
    pub const CA_CRT: &str = "ca.crt";
    /// Data key of the output format `DER`: the private key.
    pub const KEY_DER: &str = "key.der";
    /// Data key of the output format `CombinedPEM`: private key, newline, chain.
    pub const TLS_COMBINED_PEM: &str = "tls-combined.pem";
}

/// What stands on Challenges and on what routes them.
pub mod challenge {
    /// Finalizer of a Challenge: its route is removed before it goes.
    pub const FINALIZER: &str = "acme.cert-manager.io/finalizer";
    /// The same, as old versions wrote it; honoured and removed.
    pub const LEGACY_FINALIZER: &str = "finalizer.acme.cert-manager.io";
    /// Label `"true"` of every object that routes a challenge.
    pub const SOLVER_LABEL: &str = "acme.cert-manager.io/http01-solver";
    /// Label with the Adler-32 of the DNS name, decimal.
    pub const DOMAIN_LABEL: &str = "acme.cert-manager.io/http-domain";
    /// Label with the Adler-32 of the token, decimal.
    pub const TOKEN_LABEL: &str = "acme.cert-manager.io/http-token";
}

/// Annotation of an Ingress that names its controller, from before `spec.ingressClassName`.
pub const INGRESS_CLASS: &str = "kubernetes.io/ingress.class";

/// Label `"true"` of a namespace whose objects upstream's webhook does not look at.
pub const DISABLE_VALIDATION: &str = "cert-manager.io/disable-validation";
