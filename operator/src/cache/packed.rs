//! Objects that are read rarely, as compressed text: a few hundred bytes instead of thousands.
//!
//! Knows bytes and text; must not know when an object is packed. Next: `store.rs`.

use std::{cell::RefCell, sync::OnceLock};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use serde::{Serialize, de::DeserializeOwned};

/// How much of the first object of a kind the others are compared with, bytes.
const LONGEST_DICTIONARY: usize = 4096;

/// How objects of a kind are packed.
pub(super) struct Packing<K> {
    applies: fn(&K) -> bool,
    to_json: fn(&K) -> Option<Vec<u8>>,
    from_json: fn(&[u8]) -> Option<K>,
    /// The beginning of the first object. The others repeat most of its text, and are a few hundred bytes after it.
    dictionary: OnceLock<Box<[u8]>>,
}

/// An object as JSON, compressed (RFC 1951) as if it came after the dictionary of its kind.
#[derive(Debug)]
pub(super) struct Packed {
    deflated: Box<[u8]>,
    /// The length of the JSON, bytes.
    length: u32,
}

// Both are large, so one of each is used again and again.
thread_local! {
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
    static DECOMPRESS: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

impl<K: Serialize + DeserializeOwned> Packing<K> {
    /// `applies` says whether an object is packed.
    pub(super) fn new(applies: fn(&K) -> bool) -> Self {
        Self {
            applies,
            to_json: |object| serde_json::to_vec(object).ok(),
            from_json: |text| serde_json::from_slice(text).ok(),
            dictionary: OnceLock::new(),
        }
    }
}

impl<K> Packing<K> {
    /// Packs an object, if that applies to it.
    pub(super) fn pack(&self, object: &K) -> Option<Packed> {
        let text = (self.applies)(object).then(|| (self.to_json)(object)).flatten()?;
        let dictionary = self.dictionary.get_or_init(|| text[..text.len().min(LONGEST_DICTIONARY)].into());
        COMPRESS.with_borrow_mut(|compress| {
            compress.reset();
            compress.set_dictionary(dictionary).ok()?;
            let deflated = deflate(compress, &text)?;
            // A copy, because the buffer would leave a gap behind it.
            Some(Packed { deflated: deflated.as_slice().into(), length: u32::try_from(text.len()).ok()? })
        })
    }

    /// The object; `None` if it can't be read, which is logged.
    pub(super) fn unpack(&self, packed: &Packed) -> Option<K> {
        let object = self.text(packed).and_then(|text| (self.from_json)(&text));
        if object.is_none() {
            tracing::error!(kind = std::any::type_name::<K>(), "failed to unpack an object of the cache");
        }
        object
    }

    fn text(&self, packed: &Packed) -> Option<Vec<u8>> {
        let dictionary = self.dictionary.get()?;
        DECOMPRESS.with_borrow_mut(|decompress| {
            decompress.reset(false);
            decompress.set_dictionary(dictionary).ok()?;
            inflate(decompress, &packed.deflated, usize::try_from(packed.length).ok()?)
        })
    }
}

fn deflate(compress: &mut Compress, text: &[u8]) -> Option<Vec<u8>> {
    // What can't be compressed grows by a few bytes for each 16 KiB.
    let mut deflated = Vec::with_capacity(text.len() + text.len() / 1000 + 64);
    let status = compress.compress_vec(text, &mut deflated, FlushCompress::Finish).ok()?;
    (status == Status::StreamEnd).then_some(deflated)
}

fn inflate(decompress: &mut Decompress, deflated: &[u8], length: usize) -> Option<Vec<u8>> {
    // With room left, so that the end of the input is read, too.
    let mut text = Vec::with_capacity(length + 1);
    decompress.decompress_vec(deflated, &mut text, FlushDecompress::Sync).ok()?;
    (text.len() == length).then_some(text)
}

#[cfg(test)]
mod tests {
    use crds::{certmanager::CertificateRequest, fixtures};
    use k8s_openapi::ByteString;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn unpacked_object_is_the_packed_one(
            objects in prop::collection::vec((any::<String>(), prop::collection::vec(any::<u8>(), 0..20_000)), 1..4),
        ) {
            let packing = Packing::<CertificateRequest>::new(|_| true);
            let object = |(name, csr): (String, Vec<u8>)| {
                fixtures::certificate_request(&name, |it| it.spec.request = ByteString(csr))
            };
            let objects: Vec<_> = objects.into_iter().map(object).collect();
            let packed: Vec<_> = objects.iter().filter_map(|object| packing.pack(object)).collect();
            let unpacked: Vec<_> = packed.iter().filter_map(|packed| packing.unpack(packed)).collect();
            prop_assert_eq!(unpacked, objects);
        }
    }
}
