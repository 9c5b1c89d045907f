//! Where somebody without a device is led through binding one.

use super::facts::Facts;
use super::left::{LOCAL, SU};
use super::{End, Person, Rules, ways_in};
use crate::policy::Policy;
use crate::policy::place::Place;
use crate::program::is_service_of_sudo;

/// The next login that leads a person through binding.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Led {
    /// By these services.
    pub at: Vec<String>,
    /// Why that is not known of another one.
    pub not_known: Option<String>,
}

/// Where `person` is led. `su` and `sudo` count where no login does it.
pub fn led(person: &Person, policy: &Policy, rules: &Rules, facts: &Facts) -> Led {
    let services = policy.enroll_services.iter().map(String::as_str).filter(|service| facts.has_file(service));
    // A user of these has logged in already.
    let is_behind = |service: &&str| SU.contains(service) || is_service_of_sudo(service);
    let (behind, logins): (Vec<&str>, Vec<&str>) = services.partition(is_behind);
    let mut led = Led::default();
    for services in [logins, behind] {
        if !led.at.is_empty() {
            break;
        }
        for service in services {
            match at(person, service, rules, facts) {
                Ok(true) => led.at.push(service.to_owned()),
                Ok(false) => {}
                Err(why) => led.not_known = led.not_known.take().or(Some(why)),
            }
        }
    }
    led
}

/// Whether this service leads through binding; the error says why that is not known.
fn at(person: &Person, service: &str, rules: &Rules, facts: &Facts) -> Result<bool, String> {
    let place = if LOCAL.contains(&service) { Place::Local } else { Place::Remote(None) };
    let ways = ways_in(person, service, place, rules, facts);
    if ways.iter().any(|way| way.end == End::Led && way.unsure.is_none()) {
        return Ok(true);
    }
    let doubt = ways.into_iter().find_map(|way| match (way.end, way.unsure) {
        (End::Led, unsure) => unsure,
        (End::NotKnown(why), unsure) => Some(unsure.unwrap_or(why)),
        _ => None,
    });
    doubt.map_or(Ok(false), Err)
}
