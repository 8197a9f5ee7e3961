//! Rules that depend on the requesting user: admission policies and roles, as YAML for the chart.
//!
//! They run inside the API server, so unlike a webhook they cannot be unavailable, slow, or without a certificate.

/// Restricts who may set the conditions `Approved` and `Denied` of a CertificateRequest, and makes them immutable.
/// Requires `admissionregistration.k8s.io/v1`.
pub const APPROVAL: &str = include_str!("approval.yaml");

/// Rejects CertificateRequests that claim another user, and changes of their annotations. Requires
/// `admissionregistration.k8s.io/v1`.
pub const IDENTITY: &str = include_str!("identity.yaml");

/// Records the requesting user in a new CertificateRequest. Requires `MutatingAdmissionPolicy` in
/// `admissionregistration.k8s.io/v1`, which API servers have since Kubernetes 1.36; without it the fields stay empty.
pub const STAMP: &str = include_str!("stamp.yaml");

/// Limits the operator's own ServiceAccount, `acme-operator` in the namespace `acme-operator` unless that is replaced, to its own
/// Secrets, Ingresses, HTTPRoutes, Services, and EndpointSlices. Requires `admissionregistration.k8s.io/v1`.
pub const OPERATOR: &str = include_str!("operator.yaml");

/// Permissions of the built-in roles view, edit, and admin for our resources, in `rbac.authorization.k8s.io/v1`.
pub const USER_ROLES: &str = include_str!("user-roles.yaml");
