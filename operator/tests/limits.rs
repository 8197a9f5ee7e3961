//! What objects at their limits cost. A process of its own, because it measures its memory. Next: `limits_page/` for the page that lists
//! the limits, `limits_cost/` for the objects.

#[path = "limits_cost/mod.rs"]
mod limits_cost;
#[path = "limits_page/mod.rs"]
mod limits_page;

use std::sync::Mutex;

use limits_cost::{certificates, challenges, ingresses, issuers, orders, requests};

/// Held by each test, because the memory is that of the process.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn objects_at_the_limits_cost_little() {
    let _alone = ALONE.lock().expect("the page");
    certificates::certificates_cost_little();
    ingresses::ingresses_cost_little();
    requests::requests_cost_little();
    orders::orders_cost_little();
    challenges::challenges_cost_little();
    challenges::routes_cost_little();
    issuers::issuers_cost_little();
}
