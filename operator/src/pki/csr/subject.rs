//! Subjects of CSRs, RFC 5280 section 4.1.2.6.

use der::{Any, Decode, Encode, Tag};
use pkcs8::ObjectIdentifier;
use x509_cert::{
    attr::AttributeTypeAndValue,
    name::{Name, RdnSequence, RelativeDistinguishedName},
};

use super::CsrError;

/// The subject of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A whole name in the form of RFC 4514, which is in reverse order: most specific part first.
    Literal(String),
    /// A name made of parts, in the order of Go's `pkix.Name`: one relative distinguished name per type of part.
    Parts {
        /// CN; may be empty.
        common_name: String,
        /// C.
        countries: Vec<String>,
        /// O.
        organizations: Vec<String>,
        /// OU.
        organizational_units: Vec<String>,
        /// L.
        localities: Vec<String>,
        /// ST.
        provinces: Vec<String>,
        /// STREET.
        street_addresses: Vec<String>,
        /// Postal codes.
        postal_codes: Vec<String>,
        /// The serial number of the subject; may be empty.
        serial_number: String,
    },
}

impl Default for Subject {
    fn default() -> Self {
        Self::common_name("")
    }
}

impl Subject {
    /// Returns a subject with only a common name, or an empty subject if `common_name` is empty.
    pub fn common_name(common_name: &str) -> Self {
        Self::Parts {
            common_name: common_name.to_owned(),
            countries: Vec::new(),
            organizations: Vec::new(),
            organizational_units: Vec::new(),
            localities: Vec::new(),
            provinces: Vec::new(),
            street_addresses: Vec::new(),
            postal_codes: Vec::new(),
            serial_number: String::new(),
        }
    }
}

impl Subject {
    /// Returns the attributes as sorted pairs of object identifier (dotted numbers) and text.
    ///
    /// # Errors
    /// The subject can't be encoded.
    pub fn attributes(&self) -> Result<Vec<(String, String)>, CsrError> {
        let name = self.name()?;
        let mut attributes: Vec<_> = name
            .iter_rdn()
            .flat_map(RelativeDistinguishedName::iter)
            .map(|attribute| {
                let value = String::from_utf8_lossy(attribute.value.value()).into_owned();
                (attribute.oid.to_string(), value)
            })
            .collect();
        attributes.sort();
        Ok(attributes)
    }

    pub(super) fn name(&self) -> Result<Name, CsrError> {
        match self {
            Self::Literal(text) => text.parse().map_err(|_| CsrError::LiteralSubject(text.clone())),
            Self::Parts {
                common_name,
                countries,
                organizations,
                organizational_units,
                localities,
                provinces,
                street_addresses,
                postal_codes,
                serial_number,
            } => {
                let one = |value: &String| Vec::from_iter((!value.is_empty()).then(|| value.clone()));
                let mut sequence = RdnSequence::default();
                // The order of pkix.Name in Go.
                for (oid, values) in [
                    ("2.5.4.6", countries.clone()),
                    ("2.5.4.10", organizations.clone()),
                    ("2.5.4.11", organizational_units.clone()),
                    ("2.5.4.7", localities.clone()),
                    ("2.5.4.8", provinces.clone()),
                    ("2.5.4.9", street_addresses.clone()),
                    ("2.5.4.17", postal_codes.clone()),
                    ("2.5.4.3", one(common_name)),
                    ("2.5.4.5", one(serial_number)),
                ] {
                    if values.is_empty() {
                        continue;
                    }
                    let mut relative = RelativeDistinguishedName::default();
                    for value in values {
                        let attribute = AttributeTypeAndValue {
                            oid: ObjectIdentifier::new_unwrap(oid),
                            value: text(&value)?,
                        };
                        // A set can't hold the same value twice.
                        if !relative.iter().any(|other| *other == attribute) {
                            relative.insert(attribute)?;
                        }
                    }
                    sequence.push(relative);
                }
                Ok(Name::from_der(&sequence.to_der()?)?)
            }
        }
    }
}

/// Encodes a text like Go does: as `PrintableString` if its characters allow that, otherwise as `UTF8String`.
fn text(value: &str) -> Result<Any, CsrError> {
    let printable = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte));
    let tag = if printable { Tag::PrintableString } else { Tag::Utf8String };
    Any::new(tag, value.as_bytes()).map_err(|_| CsrError::Name(value.to_owned()))
}
