//! Rules that need to know who asks: admission policies and roles, as YAML that the chart carries.
//!
//! They run inside the API server. Nothing that is installed with them can be down, slow or without a certificate.

/// Who may set `Approved` and `Denied` on a CertificateRequest, and that neither is ever taken back.
/// `admissionregistration.k8s.io/v1`.
pub const APPROVAL: &str = include_str!("approval.yaml");

/// Who asked for a CertificateRequest can't be forged, and what we noted on it can't be changed.
/// `admissionregistration.k8s.io/v1`.
pub const IDENTITY: &str = include_str!("identity.yaml");

/// Stamps who asked on a CertificateRequest. `admissionregistration.k8s.io/v1`, which servers have from 1.36 on; without
/// it the fields stay empty.
pub const STAMP: &str = include_str!("stamp.yaml");

/// What users with the roles view, edit and admin may do with our resources: `rbac.authorization.k8s.io/v1`.
pub const USER_ROLES: &str = include_str!("user-roles.yaml");
