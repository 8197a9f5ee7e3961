//! The reasons of conditions and events: what a program sees of why something is as it is.
//!
//! Reasons that cert-manager has are spelled as there. What each means, and what a person can do about it, is in `docs/REASONS.md`,
//! which is generated from this. Next: `tests.rs`, which requires that each is reported with a message.

#[cfg(test)]
pub(crate) mod tests;

use strum::{EnumIter, EnumMessage, EnumString, IntoStaticStr};

/// Why something is as it is, in one word for programs. The documentation of each is what it means, and its message what a person
/// can do about it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumIter, EnumMessage, EnumString, IntoStaticStr,
)]
pub enum Reason {
    // Certificates: the state of the Secret.
    /// The certificate in the Secret is the one that the spec asks for.
    Ready,
    /// It waits for what the message names.
    #[strum(
        message = "What the message says. Nothing, if it waits for the ACME server, a rate limit, or a time"
    )]
    Pending,
    /// The Secret does not exist, or has a temporary certificate: one is issued.
    DoesNotExist,
    /// The Secret lacks the key or the certificate: one is issued.
    MissingData,
    /// The key in the Secret is not one, or not the certificate's: another is issued.
    InvalidKeyPair,
    /// What is in the Secret, or what the CA sent, is not a certificate that can be used: another is issued.
    #[strum(message = "If the CA sent it, ask the CA")]
    InvalidCertificate,
    /// The certificate is from another issuer: one is issued by the issuer of the spec.
    IncorrectIssuer,
    /// The Secret belongs to another Certificate, and is left alone.
    #[strum(
        message = "Change `spec.secretName` of one of the Certificates, or delete one: two can't share a Secret"
    )]
    IncorrectCertificate,
    /// The Secret differs from the spec: a certificate is issued, or the Secret is written.
    SecretMismatch,
    /// The names, the key, or the issuer of the spec have changed: a certificate is issued.
    RequestChanged,
    /// The certificate has expired.
    #[strum(
        message = "See why it was not renewed: in the `Issuing` message, or `spec.renewal.policy` is `Disabled`"
    )]
    Expired,
    /// The spec asks for what no certificate can have.
    #[strum(message = "Correct the field that the message names")]
    InvalidSpec,
    /// The Secret has content of something else, and is left alone.
    #[strum(
        message = "Change `spec.secretName`, delete the Secret, or hand it over with the command in the message"
    )]
    ForeignSecret,
    // Certificates: an issuance.
    /// A certificate is issued.
    Issuing,
    /// The time for the renewal has come: a certificate is issued.
    Renewing,
    /// The key in the Secret can't be reused for this spec, and no other is allowed.
    #[strum(message = "Set `spec.privateKey.rotationPolicy` to `Always`, or delete the Secret")]
    CannotRegenerateKey,
    /// Several certificates were requested in a row, so the next request waits.
    #[strum(
        message = "Find out what asks for them: a `renewBefore` as long as the CA's lifetime, or another program that writes the Secret or the spec"
    )]
    IssuedTooOften,
    /// An attempt has failed; the next one is at the time in the message.
    #[strum(message = "Correct what the message names. `cmctl renew` tries again immediately")]
    Failed,
    /// An approver has denied the CertificateRequest.
    #[strum(message = "Ask those who approve requests in the cluster")]
    Denied,
    /// The CSR of the CertificateRequest can't be used, or contradicts the other fields.
    #[strum(
        message = "If the request is yours, correct the CSR. Otherwise see what else changes requests in the cluster"
    )]
    InvalidRequest,
    /// The ACME server could not be asked when to renew. The time that was known before stays.
    ARIError,
    /// A renewal window can't be used, so it is left out.
    #[strum(message = "Correct `spec.renewal.windows` as the message says")]
    WindowError,
    // Certificates: why the Secret was written around the same certificate. Only in the log.
    /// `additionalOutputFormats` are not in the Secret.
    AdditionalOutputFormatsMismatch,
    /// Labels or annotations of the operator are not on the Secret.
    SecretManagedMetadataMismatch,
    /// The owner of the Secret does not follow `--enable-certificate-owner-ref`.
    SecretOwnerRefMismatch,
    /// Labels or annotations of `secretTemplate` are not on the Secret, or are no longer in the spec.
    SecretTemplateMismatch,
    // CertificateRequests.
    /// The certificate is in the status.
    Issued,
    /// The CSR asks for what no ACME server signs.
    #[strum(message = "Correct the names of the Certificate, or the CSR")]
    InvalidOrder,
    /// The Order has failed.
    #[strum(message = "Correct what the message names")]
    OrderFailed,
    // Issuers.
    /// The account can be used.
    ACMEAccountRegistered,
    /// The private key of the account was deleted or changed, so there is another account now.
    #[strum(
        message = "If CAA records or raised rate limits name the old account, put its key back into the Secret"
    )]
    AccountReplaced,
    /// The API server rejects what the issuer needs.
    #[strum(message = "Remove what it rejects the write for: see the message")]
    ErrInitIssuer,
    /// There is no account: the ACME server can't be reached, or rejects it.
    #[strum(
        message = "Check `server`, `caBundle`, and `externalAccountBinding`, and that the operator can reach the server"
    )]
    ErrRegisterACMEAccount,
    /// The ACME server does not accept the `email`.
    #[strum(message = "Correct the `email`")]
    ErrUpdateACMEAccount,
    /// The private key of the account is missing or can't be used.
    #[strum(
        message = "Create or correct the Secret that `privateKeySecretRef` names, or delete it to have a key generated"
    )]
    ErrVerifyACMEAccount,
    /// The spec can't work.
    #[strum(message = "Correct the field that the message names")]
    InvalidConfig,
    /// `server` is not a URL that can be used.
    #[strum(message = "Correct `server`")]
    InvalidURL,
    /// The issuer is of a type that this operator does not support, and is left alone.
    #[strum(message = "Use an issuer with `spec.acme`, or run another program that serves this one")]
    UnsupportedType,
    // Objects of any kind.
    /// The object is ignored, because it is too large or does not follow its definition.
    #[strum(message = "Correct what the message names")]
    Unreadable,
    // Ingresses.
    /// No certificate is requested for the Ingress, or for a part of it.
    #[strum(message = "Correct what the message names")]
    BadConfig,
    /// The Ingress no longer names an issuer. Its Certificates stay.
    #[strum(message = "Name an issuer, or delete the Certificates")]
    CertificateKept,
    /// A Certificate was created.
    CreateCertificate,
    /// A Certificate was changed.
    UpdateCertificate,
    /// A Certificate was deleted, because no host asks for it any more.
    DeleteCertificate,
    // Every kind: a reconcile has failed, and is tried again.
    /// The ACME server can't be reached, or rejects a request.
    #[strum(message = "Check that the operator can reach it. Nothing, if the message names a wait")]
    AcmeError,
    /// The API server can't be reached, or has failed.
    #[strum(message = "Check the API server, and that the operator can reach it")]
    ApiServerError,
    /// Something else has changed the object at the same time. Only in the log.
    Conflict,
    /// No CSR can be made of the spec.
    #[strum(message = "Correct the field that the message names")]
    CsrError,
    /// It took too long.
    #[strum(message = "Check that the operator can reach the API server and the ACME server")]
    DeadlineExceeded,
    /// Another object is missing or not ready.
    #[strum(message = "Create or correct the object that the message names")]
    DependencyMissing,
    /// The operator has a bug.
    #[strum(message = "Report it, with the operator's log")]
    InternalError,
    /// Another object can't be used.
    #[strum(message = "Correct or delete the object that the message names")]
    InvalidObject,
    /// No key can be made of the spec, or read.
    #[strum(message = "Correct the field or the Secret that the message names")]
    KeyError,
    /// A quota, a policy, a webhook, or the API server's own rules reject a write.
    #[strum(message = "Remove what the write is rejected for, as the message says")]
    Rejected,
    /// No keystore can be made of the spec.
    #[strum(message = "Correct the alias or the password that the message names")]
    KeystoreError,
}

impl Reason {
    /// As conditions and events have it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
