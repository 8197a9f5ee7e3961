//! Subjects of CSRs, RFC 5280 section 4.1.2.6.

use der::{Any, Decode, Encode, Tag};
use pkcs8::ObjectIdentifier;
use x509_cert::{
    attr::AttributeTypeAndValue,
    name::{Name, RdnSequence, RelativeDistinguishedName},
};

use super::CsrError;

/// Who a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A whole name as RFC 4514 writes it, the last part first.
    Literal(String),
    /// A name from its parts, in the order in which Go writes them: one relative name for each kind of part.
    Parts {
        /// CN, or empty.
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
        /// The subject's serial number, or empty.
        serial_number: String,
    },
}

impl Default for Subject {
    fn default() -> Self {
        Self::common_name("")
    }
}

impl Subject {
    /// A common name alone, or none if it is empty.
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
    /// The attributes as pairs of an object identifier (dotted numbers) and a text, sorted.
    ///
    /// # Errors
    /// The subject can't be written.
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
                // The order of Go's pkix.Name.
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
                        // The same value twice is once in a set.
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

/// A text as Go writes it: `PrintableString` where its characters allow that, else `UTF8String`.
fn text(value: &str) -> Result<Any, CsrError> {
    let printable = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte));
    let tag = if printable { Tag::PrintableString } else { Tag::Utf8String };
    Any::new(tag, value.as_bytes()).map_err(|_| CsrError::Name(value.to_owned()))
}
