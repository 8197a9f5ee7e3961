//! Where kinds are watched: in the whole cluster, or only in the namespaces that a flag names.

use kube::{Api, Resource, core::NamespaceResourceScope};

use crate::{context::Context, k8s::Scope};

/// The whole cluster.
pub(super) fn cluster<K: Resource<DynamicType = ()>>(context: &Context) -> Scope<K> {
    Scope { namespace: String::new(), api: Api::all(context.kube.client.clone()) }
}

/// A namespace.
pub(super) fn namespace<K>(context: &Context, namespace: &str) -> Scope<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    Scope { namespace: namespace.to_owned(), api: context.kube.api(namespace) }
}

/// Everything that the operator serves.
pub(super) fn served<K>(context: &Context) -> Vec<Scope<K>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    let namespaces = &context.settings.namespaces;
    if namespaces.is_empty() {
        return vec![cluster(context)];
    }
    namespaces.iter().map(|it| namespace(context, it)).collect()
}
