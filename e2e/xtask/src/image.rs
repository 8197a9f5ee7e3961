//! Container images of one static binary, as OCI archives: the same bytes from the same binary.
//! Knows the [image layout](https://github.com/opencontainers/image-spec/blob/main/image-layout.md), nothing of
//! what is in an image. Who builds our binaries: `xtask image`.

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

/// The user that our images run as: numeric, so that `runAsNonRoot` can be checked.
pub const NON_ROOT: &str = "65532:65532";

/// An image with nothing in it but one binary.
#[derive(Clone, Debug)]
pub struct Image {
    /// Full reference, such as `localhost/agnhost:1.36.3`.
    pub reference: String,
    /// A static Linux binary on this machine.
    pub binary: PathBuf,
    /// The command; the binary lies at `/<file name>`.
    pub entrypoint: Vec<String>,
    /// `uid:gid`, or empty for root.
    pub user: &'static str,
    /// Whether the layer is compressed: worth it for what is pushed, not for what stays on this machine.
    pub compressed: bool,
}

impl Image {
    /// An image whose entrypoint is the binary alone.
    pub fn new(reference: impl Into<String>, binary: impl Into<PathBuf>, user: &'static str) -> Self {
        let binary = binary.into();
        let entrypoint = vec![format!("/{}", file_name(&binary))];
        Self { reference: reference.into(), binary, entrypoint, user, compressed: false }
    }

    /// Writes the image as an OCI archive (an uncompressed tar) at `path`, and returns the manifest's digest.
    /// The file has its name only when it is complete.
    pub fn write(&self, path: &Path) -> Result<String> {
        let folder = path.parent().context("an archive lies in a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
        self.write_in(folder, path).with_context(|| {
            format!("failed to write the image of {} as {}", self.binary.display(), path.display())
        })
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
            // The first is what containerd names the image by, the second what the specification knows.
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

    /// The one layer.
    fn layer(&self, folder: &Path) -> Result<Layer> {
        let out = Hashing::new(BufWriter::new(tempfile::tempfile_in(folder)?));
        if !self.compressed {
            let (out, digest) = self.content(out)?.finish();
            let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
            return Ok(Layer { file, content_digest: digest.clone(), digest });
        }
        // The header that is written holds neither time nor name.
        let content = Hashing::new(GzEncoder::new(out, Compression::default()));
        let (out, content_digest) = self.content(content)?.finish();
        let (out, digest) = out.finish()?.finish();
        Ok(Layer { file: out.into_inner().map_err(io::IntoInnerError::into_error)?, digest, content_digest })
    }

    /// Writes the files of the image as a tar.
    fn content<W: Write>(&self, out: W) -> Result<W> {
        let binary = File::open(&self.binary)?;
        let mut header = header(0o755, binary.metadata()?.len());
        let mut tar = tar::Builder::new(out);
        tar.append_data(&mut header, file_name(&self.binary), BufReader::new(binary))?;
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
    /// Of the file.
    digest: String,
    /// Of the tar in it: the `DiffID`.
    content_digest: String,
}

/// The machine's architecture as Go and OCI name it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
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

/// A header with nothing in it that could differ between two runs.
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

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Counts a digest over all that is written through it.
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
    fn the_same_binary_gives_the_same_bytes() -> Result<()> {
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
    fn every_blob_has_the_digest_that_names_it() -> Result<()> {
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
