//! A stand-in for the official `python` image, made from Debian's Python of this host.

use std::{fs, path::Path, process::Command};

use super::{Engine, image::CONTENT_LABEL, toolchain};

/// Debian's, whatever `python3` in PATH is.
const PYTHON: &str = "/usr/bin/python3";

/// What a Dockerfile's RUN lines need beside Python; its venv brings pip.
const PACKAGES: &[&str] = &[
    "base-files",
    "base-passwd",
    "coreutils",
    "dash",
    "python3",
    "python3-venv",
];

/// As in the official image `python` and `pip` are in /usr/local, which no package manager guards.
/// The wheels stand in for the index.
const STEPS: &str = "RUN python3 -m venv /usr/local
ENV PATH=/usr/local/bin:/usr/bin:/bin
COPY wheels /wheels
ENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels PIP_DISABLE_PIP_VERSION_CHECK=1
CMD [\"python3\"]
";

impl Engine {
    /// Makes `tag` stand in for an official `python` image: Debian's Python, its version whatever the
    /// tag says, with a pip that finds what `requirements` names, and nothing else, without a network.
    /// A real image of that name is left as it is.
    ///
    /// # Panics
    /// When Debian's Python is not installed, or when pip can't get what is required.
    #[track_caller]
    pub fn python_image(&self, tag: &str, requirements: &Path) {
        if self.is_foreign(tag) {
            return;
        }
        let base = "ready-probe-test/debian-python";
        self.debian_image(base, PACKAGES, &["CMD [\"sh\"]"]);
        let required = fs::read_to_string(requirements)
            .unwrap_or_else(|e| panic!("{}: {e}", requirements.display()));
        let made_of = self.docker(["image", "inspect", "--format={{.Id}}", base]);
        let context = toolchain::scratch_folder();
        let content = toolchain::sha256(&context, &(made_of + STEPS + &required));
        let _lock = self.image_lock();
        if self.image_content(tag).is_some_and(|made| made == content) {
            return;
        }
        download(requirements, &context.path().join("wheels"));
        let dockerfile = context.path().join("Dockerfile");
        let text = format!("FROM {base}\n{STEPS}LABEL {CONTENT_LABEL}={content}\n");
        fs::write(&dockerfile, text).expect("a temporary folder");
        self.build(tag, context.path(), &dockerfile, &[]);
    }
}

/// Puts wheels of all that `requirements` needs into `folder`, for Debian's Python.
fn download(requirements: &Path, folder: &Path) {
    // Of python3-venv: there is a pip even where python3-pip is not installed.
    let pip = fs::read_dir("/usr/share/python-wheels")
        .expect("python3-venv is installed")
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"pip-"))
        })
        .expect("python3-venv depends on python3-pip-whl");
    toolchain::succeed(
        Command::new(PYTHON)
            .args([
                "-m",
                "pip",
                "download",
                "--quiet",
                "--disable-pip-version-check",
            ])
            .args(["--only-binary=:all:", "--requirement"])
            .arg(requirements)
            .arg("--dest")
            .arg(folder)
            .env("PYTHONPATH", pip),
    );
}
