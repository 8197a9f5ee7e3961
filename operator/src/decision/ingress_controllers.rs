//! What is special about some ingress controllers, as far as it concerns challenges and Secrets.
//!
//! Knows the names that they have in `spec.controller` of an IngressClass; must not know how a class is found. Next:
//! `shim/annotations.rs` and `solvers/http01_ingress.rs`, which ask.

/// How an ingress controller differs from most: they serve two Ingresses of one host together, apply changes immediately, and read
/// Secrets in the namespace of the Ingress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peculiarity {
    /// It rejects an Ingress with a host that another one has, so the path of a challenge must be in that one.
    OneIngressPerHost,
    /// It applies changes once per period.
    PeriodicSync,
    /// It reads Secrets in the namespace of its own Pods.
    OwnSecrets,
}

/// Controllers, by the beginning of their name: some append the name of a class.
const KNOWN: &[(&str, Peculiarity)] = &[
    // F5's controller. It says so in an event: "All hosts are taken by other resources".
    ("nginx.org/ingress-controller", Peculiarity::OneIngressPerHost),
    ("haproxy.org/ingress-controller", Peculiarity::PeriodicSync),
    ("istio.io/ingress-controller", Peculiarity::OwnSecrets),
];

/// What is special about the controller with this name; `None` for most.
///
/// ```
/// use operator::decision::ingress_controllers::{Peculiarity, peculiarity};
///
/// assert_eq!(peculiarity("haproxy.org/ingress-controller/haproxy"), Some(Peculiarity::PeriodicSync));
/// assert_eq!(peculiarity("k8s.io/ingress-nginx"), None);
/// ```
pub fn peculiarity(controller: &str) -> Option<Peculiarity> {
    let is_it = |name: &str| {
        controller.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    KNOWN.iter().find(|(name, _)| is_it(name)).map(|(_, peculiarity)| *peculiarity)
}

/// What is known about the controller of an IngressClass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassLookup {
    /// The class does not exist, or may not be read.
    Unknown,
    /// It exists.
    Known(Option<Peculiarity>),
}

/// Whether the path of a challenge is put into the user's Ingress although no annotation asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// The challenge has an Ingress of its own.
    Never,
    /// The controller would reject an Ingress of its own.
    Always,
    /// Not enough is known to decide: what was decided before stays.
    AsBefore,
}

/// Decides whether challenges are solved in an Ingress of this class. `solvers` are the classes of the issuer's HTTP-01 solvers that create
/// an Ingress, `None` for one without a class; they are `None` if the issuer is unknown.
pub fn edit(ingress: ClassLookup, solvers: Option<&[Option<ClassLookup>]>) -> Edit {
    match (ingress, solvers) {
        (ClassLookup::Known(peculiarity), _) if peculiarity != Some(Peculiarity::OneIngressPerHost) => {
            Edit::Never
        }
        (ClassLookup::Unknown, _) | (_, None) => Edit::AsBefore,
        // Challenges of another class are none of this controller's business.
        (ClassLookup::Known(_), Some(solvers)) => {
            let is_rejected = |solver: &Option<ClassLookup>| match solver {
                None => true,
                Some(class) => *class == ClassLookup::Known(Some(Peculiarity::OneIngressPerHost)),
            };
            if solvers.contains(&Some(ClassLookup::Unknown)) {
                Edit::AsBefore
            } else if !solvers.is_empty() && solvers.iter().all(is_rejected) {
                Edit::Always
            } else {
                Edit::Never
            }
        }
    }
}

/// What a Challenge says besides what it waits for. `edited` is the user's Ingress that has the path of the challenge, if it has no
/// Ingress of its own.
pub fn advice_while_waiting(peculiarity: Peculiarity, edited: Option<&str>) -> Option<String> {
    match (peculiarity, edited) {
        (Peculiarity::OneIngressPerHost, Some(name)) => Some(format!(
            "the path of the challenge is in the Ingress {name:?}, because its ingress controller rejects a second Ingress with the \
             same host"
        )),
        (Peculiarity::OneIngressPerHost, None) => Some(
            "this ingress controller rejects a second Ingress with the same host. If an annotated Ingress has this host, set \
             acme.cert-manager.io/http01-edit-in-place: \"true\" on it. For another Ingress, put its name into the annotation \
             acme.cert-manager.io/http01-override-ingress-name of the Certificate"
                .to_owned(),
        ),
        (Peculiarity::PeriodicSync, _) => Some(
            "this ingress controller applies changes once per period, which is 5 s unless its flag --sync-period says otherwise"
                .to_owned(),
        ),
        (Peculiarity::OwnSecrets, _) => None,
    }
}

/// The most IngressClasses that a text lists.
const MOST_LISTED: usize = 5;

/// What may be wrong with the class of a solver whose challenge gets no right answer: no such IngressClass exists, or the user's Ingress
/// has another one. `of_user` is the name of that Ingress and its class, and `existing` the names of all IngressClasses, sorted, or none if
/// they may not be read.
pub fn class_note(class: &str, of_user: Option<&(String, String)>, existing: &[String]) -> Option<String> {
    if !existing.is_empty() && !existing.iter().any(|name| name == class) {
        let mut listed: Vec<_> = existing.iter().take(MOST_LISTED).map(|name| format!("{name:?}")).collect();
        if existing.len() > MOST_LISTED {
            listed.push("others".to_owned());
        }
        return Some(format!(
            "there is no IngressClass {class:?}, which the issuer's solver names. There are: {}",
            listed.join(", ")
        ));
    }
    let (name, of_user) = of_user.filter(|(_, of_user)| of_user != class)?;
    Some(format!(
        "the issuer's solver has the ingress class {class:?}, and the Ingress {name:?} has {of_user:?}. Change the issuer if the name does \
         not lead to the ingress controller of the class {class:?}"
    ))
}

/// Where Istio's gateway for Ingresses runs by default.
pub const ISTIO_NAMESPACE: &str = "istio-system";

/// What a Certificate says whose Secret the ingress controller may not find.
pub fn advice_once_issued(peculiarity: Peculiarity, namespace: &str) -> Option<String> {
    (peculiarity == Peculiarity::OwnSecrets && namespace != ISTIO_NAMESPACE).then(|| {
        format!(
            "Istio reads the Secrets of Ingresses in the namespace of its gateway's Pods, usually {ISTIO_NAMESPACE:?}. If these Pods \
             are not in {namespace:?}, HTTPS is not served: use a Gateway instead of the Ingress, or create a Certificate with this \
             secretName in their namespace, and remove the annotation that names the issuer from the Ingress"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_of_the_solver_may_be_wrong() {
        let existing = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let of_user = ("web".to_owned(), "nginx".to_owned());
        let note = |class, names: &[&str]| class_note(class, Some(&of_user), &existing(names));
        assert_eq!(note("nginx", &["nginx", "traefik"]), None);
        assert_eq!(note("nginx", &[]), None, "IngressClasses may not be read");
        let missing = note("ngnix", &["nginx", "traefik"]).expect("a note");
        assert!(missing.ends_with("There are: \"nginx\", \"traefik\""), "{missing}");
        let many = note("ngnix", &["a", "b", "c", "d", "e", "f"]).expect("a note");
        assert!(many.ends_with("\"e\", others"), "{many}");
        for names in [&["nginx", "traefik"][..], &[]] {
            let other = note("traefik", names).expect("a note");
            assert!(other.contains("the Ingress \"web\" has \"nginx\""), "{other}");
        }
        assert_eq!(class_note("traefik", None, &[]), None, "the Certificate is a user's own");
    }

    #[test]
    fn controller_is_known_by_its_name_or_with_a_class() {
        for (controller, expected) in [
            ("nginx.org/ingress-controller", Some(Peculiarity::OneIngressPerHost)),
            ("nginx.org/ingress-controller-fork", None),
            ("haproxy.org/ingress-controller", Some(Peculiarity::PeriodicSync)),
            ("haproxy.org/ingress-controller/internal", Some(Peculiarity::PeriodicSync)),
            ("haproxy-ingress.github.io/controller", None),
            ("istio.io/ingress-controller", Some(Peculiarity::OwnSecrets)),
            ("k8s.io/ingress-nginx", None),
            ("traefik.io/ingress-controller", None),
            ("projectcontour.io/ingress-controller", None),
            ("", None),
        ] {
            assert_eq!(peculiarity(controller), expected, "{controller}");
        }
    }

    #[test]
    fn ingress_is_edited_if_all_solvers_would_be_rejected() {
        let [strict, other] = [Some(Peculiarity::OneIngressPerHost), None].map(ClassLookup::Known);
        for (ingress, solvers, expected) in [
            (strict, Some(&[None][..]), Edit::Always),
            (strict, Some(&[Some(strict), None]), Edit::Always),
            // The issuer's solver leads elsewhere on purpose.
            (strict, Some(&[Some(other)]), Edit::Never),
            (strict, Some(&[Some(strict), Some(other)]), Edit::Never),
            (strict, Some(&[Some(ClassLookup::Unknown)]), Edit::AsBefore),
            // It has other solvers only.
            (strict, Some(&[]), Edit::Never),
            (strict, None, Edit::AsBefore),
            (other, Some(&[None]), Edit::Never),
            (other, None, Edit::Never),
            (ClassLookup::Unknown, Some(&[None]), Edit::AsBefore),
        ] {
            assert_eq!(edit(ingress, solvers), expected, "{ingress:?} {solvers:?}");
        }
    }

    #[test]
    fn waiting_challenge_names_the_ingress_or_the_period() {
        for (peculiarity, edited, expected) in [
            (Peculiarity::OneIngressPerHost, Some("web"), Some("in the Ingress \"web\"")),
            (Peculiarity::OneIngressPerHost, None, Some("http01-override-ingress-name")),
            (Peculiarity::PeriodicSync, None, Some("--sync-period")),
            (Peculiarity::OwnSecrets, None, None),
        ] {
            let advice = advice_while_waiting(peculiarity, edited);
            assert_eq!(advice.is_some(), expected.is_some(), "{peculiarity:?}");
            assert!(advice.unwrap_or_default().contains(expected.unwrap_or_default()), "{peculiarity:?}");
        }
    }

    #[test]
    fn secrets_outside_of_istios_namespace_are_mentioned() {
        let advice = advice_once_issued(Peculiarity::OwnSecrets, "app").expect("it is mentioned");
        assert!(advice.contains("\"app\"") && advice.contains("\"istio-system\""), "{advice}");
        assert_eq!(advice_once_issued(Peculiarity::OwnSecrets, "istio-system"), None);
        assert_eq!(advice_once_issued(Peculiarity::PeriodicSync, "app"), None);
    }
}
