//! Container images with one layer, as OCI archives. The same files give the same bytes.
//! Knows the [image layout](https://github.com/opencontainers/image-spec/blob/main/image-layout.md), and nothing about
//! the files. Next: `release.rs`, which builds the operator's binaries.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    io::{self, BufReader, BufWriter, Seek, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The user of the operator's images. Numeric, because the kubelet can't check `runAsNonRoot` against a name.
pub const NON_ROOT: &str = "65532:65532";

/// An image that has some files and nothing else.
#[derive(Clone, Debug)]
pub struct Image {
    /// Full reference, such as `localhost/agnhost:1.36.3`.
    pub reference: String,
    /// The files.
    pub files: Vec<ImageFile>,
    /// The command.
    pub entrypoint: Vec<String>,
    /// `uid:gid`, or empty for root.
    pub user: &'static str,
    /// Whether the layer is compressed, which takes seconds and is only worth it for images that are pushed.
    pub compressed: bool,
}

/// A file of an image. Every user may read and execute it.
#[derive(Clone, Debug)]
pub struct ImageFile {
    /// The path on this machine.
    pub source: PathBuf,
    /// The path in the image, relative to its root.
    pub target: PathBuf,
    /// Whether every user may also write to it.
    pub writable: bool,
}

impl Image {
    /// An image that runs one static Linux binary without arguments. In the image, it is at `/<file name>`.
    pub fn new(reference: impl Into<String>, binary: impl Into<PathBuf>, user: &'static str) -> Self {
        let source = binary.into();
        let target = PathBuf::from(source.file_name().unwrap_or_default());
        let entrypoint = vec![format!("/{}", target.display())];
        let files = vec![ImageFile { source, target, writable: false }];
        Self { reference: reference.into(), files, entrypoint, user, compressed: false }
    }

    /// Writes the image as an OCI archive, an uncompressed tar, to `path`, and returns the digest of the manifest.
    /// The file appears under its name when it is complete.
    pub fn write(&self, path: &Path) -> Result<String> {
        let folder = path.parent().context("the path of an archive has no parent")?;
        fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
        self.write_in(folder, path)
            .with_context(|| format!("failed to write the image {} as {}", self.reference, path.display()))
    }

    fn write_in(&self, folder: &Path, path: &Path) -> Result<String> {
        let Layer { file: mut layer, digest: layer_digest, content_digest } = self.layer(folder)?;
        let layer_size = layer.metadata()?.len();
        let layer_type = if self.compressed { "tar+gzip" } else { "tar" };
        let config = to_bytes(&self.config(&content_digest))?;
        let manifest = to_bytes(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &sha256(&config), config.len() as u64),
            "layers": [descriptor(&format!("application/vnd.oci.image.layer.v1.{layer_type}"), &layer_digest, layer_size)],
        }))?;
        let manifest_digest = sha256(&manifest);
        let mut in_index =
            descriptor("application/vnd.oci.image.manifest.v1+json", &manifest_digest, manifest.len() as u64);
        in_index["platform"] = json!({ "architecture": architecture(), "os": "linux" });
        in_index["annotations"] = json!({
            // containerd takes the image's name from the first, other tools from the second, which is in the
            // specification.
            "io.containerd.image.name": self.reference,
            "org.opencontainers.image.ref.name": self.reference,
        });
        let index = to_bytes(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [in_index],
        }))?;

        let readable = fs::Permissions::from_mode(0o644);
        let partial = tempfile::Builder::new().permissions(readable).tempfile_in(folder)?;
        let mut archive = tar::Builder::new(BufWriter::new(partial));
        append(&mut archive, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        append(&mut archive, "index.json", 0o644, &index)?;
        append(&mut archive, &blob(&manifest_digest), 0o644, &manifest)?;
        append(&mut archive, &blob(&sha256(&config)), 0o644, &config)?;
        layer.rewind()?;
        let mut header = header(0o644, layer_size);
        archive.append_data(&mut header, blob(&layer_digest), BufReader::new(layer))?;
        let partial = archive.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        partial.persist(path)?;
        Ok(manifest_digest)
    }

    /// The only layer of the image.
    fn layer(&self, folder: &Path) -> Result<Layer> {
        let out = Hashing::new(BufWriter::new(tempfile::tempfile_in(folder)?));
        if !self.compressed {
            let (out, digest) = self.content(out)?.finish();
            let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
            return Ok(Layer { file, content_digest: digest.clone(), digest });
        }
        // This encoder writes neither a time nor a file name into the header, so the bytes are the same each time.
        let content = Hashing::new(GzEncoder::new(out, Compression::default()));
        let (out, content_digest) = self.content(content)?.finish();
        let (out, digest) = out.finish()?.finish();
        Ok(Layer { file: out.into_inner().map_err(io::IntoInnerError::into_error)?, digest, content_digest })
    }

    /// Writes the files of the image as a tar.
    fn content<W: Write>(&self, out: W) -> Result<W> {
        let mut tar = tar::Builder::new(out);
        for ImageFile { source, target, writable } in &self.files {
            let file = File::open(source).with_context(|| format!("failed to read {}", source.display()))?;
            let mode = if *writable { 0o777 } else { 0o755 };
            let mut header = header(mode, file.metadata()?.len());
            tar.append_data(&mut header, target, BufReader::new(file))?;
        }
        Ok(tar.into_inner()?)
    }

    fn config(&self, content_digest: &str) -> Value {
        json!({
            "architecture": architecture(),
            "os": "linux",
            "config": { "Entrypoint": self.entrypoint, "User": self.user, "WorkingDir": "/" },
            "rootfs": { "type": "layers", "diff_ids": [content_digest] },
        })
    }
}

/// A layer in an unnamed file.
struct Layer {
    file: File,
    /// The digest of the file.
    digest: String,
    /// The digest of the uncompressed tar: the `DiffID`.
    content_digest: String,
}

/// The architecture of this machine by the name that Go and OCI use.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The bytes in lowercase hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

/// The SHA-256 of a file, in lowercase hexadecimal.
///
/// # Errors
/// The file can't be read.
pub fn sha256_of(path: &Path) -> io::Result<String> {
    let mut out = Hashing::new(io::sink());
    io::copy(&mut File::open(path)?, &mut out)?;
    Ok(hex(&out.hasher.finalize()))
}

fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

fn descriptor(media_type: &str, digest: &str, size: u64) -> Value {
    json!({ "mediaType": media_type, "digest": digest, "size": size })
}

/// JSON with sorted keys.
fn to_bytes(value: &Value) -> Result<Vec<u8>> {
    let sorted: BTreeMap<String, Value> = serde_json::from_value(value.clone())?;
    Ok(serde_json::to_vec(&sorted)?)
}

/// A header without anything that could differ between two runs, such as a time.
fn header(mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn append(archive: &mut tar::Builder<impl Write>, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
    archive.append_data(&mut header(mode, content.len() as u64), path, content)
}

/// A writer that computes the digest of everything written through it.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256::new() }
    }

    fn finish(self) -> (W, String) {
        (self.inner, format!("sha256:{}", hex(&self.hasher.finalize())))
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_binary_gives_the_same_bytes() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let binary = folder.path().join("hello");
        fs::write(&binary, "not really a program")?;
        for compressed in [false, true] {
            let image = Image { compressed, ..Image::new("localhost/hello:1", &binary, NON_ROOT) };
            let (first, second) = (folder.path().join("1.tar"), folder.path().join("2.tar"));
            assert_eq!(image.write(&first)?, image.write(&second)?);
            assert_eq!(fs::read(&first)?, fs::read(&second)?);
        }
        Ok(())
    }

    #[test]
    fn blob_is_named_after_its_digest() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let binary = folder.path().join("hello");
        fs::write(&binary, vec![7; 100_000])?;
        let archive = folder.path().join("image.tar");
        Image::new("localhost/hello:1", &binary, NON_ROOT).write(&archive)?;

        let mut blobs = 0;
        for entry in tar::Archive::new(File::open(&archive)?).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.to_string_lossy().into_owned();
            let mut content = Vec::new();
            io::copy(&mut entry, &mut content)?;
            if path.starts_with("blobs/") {
                assert_eq!(path, blob(&sha256(&content)));
                blobs += 1;
            }
        }
        assert_eq!(blobs, 3);
        Ok(())
    }
}
