//! Signatures as minisign makes and verifies them, so that `minisign -V` says the same.
//!
//! A gateway holds public keys only, and verifies by a crate that can do nothing else.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use minisign::{SecretKey, SecretKeyBox};
use minisign_verify::{Error, PublicKey, Signature};

use super::archive::Source;
use super::error::BundleError;

/// Bytes of a key or signature file: four short lines, a comment among them.
const KEY_BYTES_MAX: u64 = 16 << 10;

/// Bytes read at once.
const BUFFER_BYTES: usize = 128 << 10;

/// What a secret key begins with that a password encrypts: its algorithms, `Ed`, `Sc` and `B2`.
const ENCRYPTED: &str = "RWRTY0Iy";

/// Whether a text is a public key: the second line of a `.pub` file.
pub fn is_public_key(text: &str) -> bool {
    PublicKey::from_base64(text).is_ok()
}

/// Where the signature of a bundle is.
pub fn signature_path(bundle: &Path) -> PathBuf {
    let mut name = bundle.as_os_str().to_owned();
    name.push(".minisig");
    PathBuf::from(name)
}

/// Verifies a bundle by its signature beside it; one of the keys has to have made it.
pub(super) fn verify(source: Source<'_>, keys: &[String]) -> Result<(), BundleError> {
    let Source { file, told: bundle } = source;
    if keys.is_empty() {
        return Err(BundleError::NoKeys);
    }
    let keys = keys.iter().map(|key| public_key(key)).collect::<Result<Vec<_>, _>>()?;
    let path = signature_path(bundle);
    let text = match read(&signature_path(file)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(BundleError::Unsigned(path));
        }
        text => text.map_err(BundleError::io(&path, "read"))?,
    };
    let no_form = |error: Error| {
        let reason = error.to_string();
        BundleError::SignatureForm { path: path.clone(), reason }
    };
    let signature = Signature::decode(&text).map_err(no_form)?;
    for key in &keys {
        let mut verifier = match key.verify_stream(&signature) {
            Ok(verifier) => verifier,
            Err(Error::UnexpectedKeyId) => continue,
            Err(error) => return Err(no_form(error)),
        };
        let reading = BundleError::io(bundle, "read");
        let mut file = File::open(file).map_err(&reading)?;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = file.read(&mut buffer).map_err(&reading)?;
            if count == 0 {
                break;
            }
            verifier.update(buffer.get(..count).unwrap_or_default());
        }
        return verifier.finalize().map_err(|_other| BundleError::Changed(bundle.to_owned()));
    }
    Err(BundleError::UnknownKey(bundle.to_owned()))
}

/// A configured key, which may be a file.
fn public_key(key: &str) -> Result<PublicKey, BundleError> {
    let no_key = |reason: String| BundleError::PublicKey { key: crate::policy::shown(key), reason };
    let decoded = if key.starts_with('/') {
        let text = read(Path::new(key)).map_err(|error| no_key(error.to_string()))?;
        PublicKey::decode(&text)
    } else {
        PublicKey::from_base64(key)
    };
    decoded.map_err(|error| no_key(error.to_string()))
}

/// Reads a secret key; the password is asked for where the key has one.
pub fn secret(
    path: &Path,
    password: impl FnOnce() -> io::Result<String>,
) -> Result<SecretKey, BundleError> {
    let failed = |reason: String| BundleError::SecretKey { path: path.to_owned(), reason };
    let text = read(path).map_err(BundleError::io(path, "read"))?;
    let is_encrypted = text.lines().nth(1).is_some_and(|key| key.starts_with(ENCRYPTED));
    let key = SecretKeyBox::from(text);
    let opened = if is_encrypted {
        let password = password().map_err(|error| failed(format!("no password: {error}")))?;
        key.into_secret_key(Some(password))
    } else {
        key.into_unencrypted_secret_key()
    };
    opened.map_err(|error| failed(error.to_string()))
}

/// Signs a bundle: writes its signature beside it.
pub(super) fn sign(bundle: &Path, key: &SecretKey, comment: &str) -> Result<String, BundleError> {
    let file = File::open(bundle).map_err(BundleError::io(bundle, "read"))?;
    let untrusted = Some("signature of a campus-sensor policy bundle");
    let signature = minisign::sign(None, key, file, Some(comment), untrusted).map_err(|error| {
        let source = io::Error::other(error.to_string());
        BundleError::Io { path: bundle.to_owned(), doing: "sign", source }
    })?;
    Ok(signature.into_string())
}

/// Makes a pair of keys: `campus-sensor.key`, for whoever signs, and `campus-sensor.pub`. Returns the public key.
pub fn generate(folder: &Path, password: Option<String>) -> Result<String, BundleError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let (secret, public) = (folder.join("campus-sensor.key"), folder.join("campus-sensor.pub"));
    // Before either is there: half a pair would be of no use.
    if let Some(path) = [&secret, &public].into_iter().find(|path| path.exists()) {
        return Err(BundleError::io(path, "create")(io::ErrorKind::AlreadyExists.into()));
    }
    let pair = match password {
        Some(password) => minisign::KeyPair::generate_encrypted_keypair(Some(password)),
        None => minisign::KeyPair::generate_unencrypted_keypair(),
    };
    let failed = |error: minisign::PError| BundleError::SecretKey {
        path: secret.clone(),
        reason: error.to_string(),
    };
    let pair = pair.map_err(failed)?;
    let text = pair.sk.to_box(Some("secret key of campus-sensor bundles")).map_err(failed)?;
    let create = |path: &Path, mode: u32, text: &[u8]| {
        let mut options = File::options();
        let file = options.write(true).create_new(true).mode(mode).open(path);
        file.and_then(|mut file| file.write_all(text).and_then(|()| file.sync_all()))
            .map_err(BundleError::io(path, "create"))
    };
    create(&secret, 0o600, &text.to_bytes())?;
    create(&public, 0o644, &pair.pk.to_box().map_err(failed)?.to_bytes())?;
    Ok(pair.pk.to_base64())
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(KEY_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The example of minisign's own documentation: a key and a signature that its C program made of `test`.
    const DOCUMENTED_KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    const DOCUMENTED: &str = "untrusted comment: signature from minisign secret key\n\
        RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\n\
        trusted comment: timestamp:1633700835\tfile:test\tprehashed\n\
        wLMDjy9FLAuxZ3q4NlEvkgtyhrr0gtTu6KC4KBJdITbbOeAi1zBIYo0v4iTgt8jJpIidRJnp94ABQkJAgAooBQ==\n";

    fn of(bundle: &Path) -> Source<'_> {
        Source { file: bundle, told: bundle }
    }

    fn refusal(bundle: &Path, keys: &[&str]) -> String {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let error = verify(of(bundle), &keys).unwrap_err().to_string();
        error.replace(&format!("{}/", bundle.parent().unwrap().display()), "")
    }

    #[test]
    fn what_minisign_signed_is_verified() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("test");
        fs::write(&bundle, "test").unwrap();
        fs::write(signature_path(&bundle), DOCUMENTED).unwrap();
        let other = generate(folder.path(), None).unwrap();
        verify(of(&bundle), &[other.clone(), DOCUMENTED_KEY.to_owned()]).unwrap();
        let file = folder.path().join("campus-sensor.pub").display().to_string();
        assert_eq!(
            refusal(&bundle, &[&file]),
            "test: is signed by a key that is not in policy.keys: ask who made it"
        );
        assert_eq!(
            refusal(&bundle, &[]),
            "no key is configured that bundles are signed by: write keys = [\"RW…\"] under [policy]"
        );
        assert_eq!(
            refusal(&bundle, &["RWQ"]),
            "RWQ: is no public key of minisign (Invalid encoding in minisign data): see policy.keys"
        );
        fs::write(&bundle, "tEst").unwrap();
        assert_eq!(
            refusal(&bundle, &[DOCUMENTED_KEY]),
            "test: is not what was signed, but changed or cut since: copy it again"
        );
        fs::write(signature_path(&bundle), DOCUMENTED.replace("RUQf", "RWQf")).unwrap();
        assert!(refusal(&bundle, &[DOCUMENTED_KEY]).starts_with("test.minisig: is no signature"));
        fs::write(signature_path(&bundle), "").unwrap();
        assert_eq!(
            refusal(&bundle, &[DOCUMENTED_KEY]),
            "test.minisig: is no signature of minisign (Invalid encoding in minisign data): copy it again"
        );
        fs::remove_file(signature_path(&bundle)).unwrap();
        assert_eq!(
            refusal(&bundle, &[DOCUMENTED_KEY]),
            "test.minisig: the signature is missing: it belongs beside the bundle"
        );
    }

    #[test]
    fn keys_open_with_and_without_a_password() {
        use std::os::unix::fs::PermissionsExt as _;
        let never = || panic!("no password is needed");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("campus-sensor.key");
        generate(folder.path(), None).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        secret(&file, never).unwrap();
        // Nobody's key is written over.
        assert!(generate(folder.path(), None).is_err());

        fs::remove_file(&file).unwrap();
        assert!(generate(folder.path(), None).is_err(), "nor is what gateways trust");
        assert!(!file.exists());
        fs::remove_file(folder.path().join("campus-sensor.pub")).unwrap();
        let public = generate(folder.path(), Some("tr0ub4dor".to_owned())).unwrap();
        let wrong = secret(&file, || Ok("wrong".to_owned())).err().unwrap().to_string();
        assert!(wrong.contains("(Wrong password for that key)"), "{wrong}");
        let key = secret(&file, || Ok("tr0ub4dor".to_owned())).unwrap();
        let bundle = folder.path().join("b");
        fs::write(&bundle, "some bytes").unwrap();
        fs::write(signature_path(&bundle), sign(&bundle, &key, "why").unwrap()).unwrap();
        verify(of(&bundle), &[public]).unwrap();

        fs::write(&file, "hello\nthere\n").unwrap();
        let none = secret(&file, never).err().unwrap().to_string();
        assert!(none.contains("cannot be used as a secret key of minisign"), "{none}");
    }
}
