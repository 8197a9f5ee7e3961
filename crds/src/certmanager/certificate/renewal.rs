//! Whether and when a Certificate is renewed automatically.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::GoDuration;

/// Automatic renewal of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Renewal {
    /// Whether the certificate is renewed automatically.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<RenewalPolicy>,
    /// Maintenance windows, at most 100. If set, a renewal that is due waits until one of the windows opens.
    /// If none opens within 400 days and before the certificate expires, or if a window is invalid, the
    /// certificate is renewed without waiting, and an event with the reason "WindowError" says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub windows: Option<Vec<RenewalWindow>>,
}

/// Whether the certificate is renewed automatically: "RenewBefore" renews it before it expires; "Disabled"
/// lets it expire. Changes to the spec cause a new certificate to be issued in both cases. Defaults to
/// "RenewBefore".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RenewalPolicy {
    /// The certificate is not renewed.
    Disabled,
    /// The certificate is renewed before it expires.
    RenewBefore,
}

/// A recurring maintenance window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenewalWindow {
    /// Times at which the window opens, as a cron expression with five fields, such as "0 2 * * 0" for
    /// Sundays at 02:00.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub cron: Option<String>,
    /// IANA time zone of the cron expression, such as "Europe/Berlin". Defaults to UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub timezone: Option<String>,
    /// How long the window stays open, as a Go duration such as "2h". Must be greater than zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_duration: Option<GoDuration>,
}
