//! A file system that can be filled.

use std::fs;
use std::process::Command;

use super::TempFolder;

/// A folder on a file system of its own, of four pages, unmounted on drop.
pub struct SmallDisk {
    pub folder: TempFolder,
}

impl SmallDisk {
    pub fn new() -> Self {
        let folder = TempFolder::new();
        fs::create_dir(folder.path()).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16k,mode=1777", "small"])
            .arg(folder.path())
            .status()
            .unwrap();
        assert!(
            mounted.success(),
            "this test mounts a file system: sudo -E cargo test"
        );
        Self { folder }
    }

    pub fn fill(&self) {
        let filled = fs::write(self.folder.path().join("ballast"), vec![0; 64 << 10]);
        assert_eq!(filled.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(self.folder.path())
            .status();
    }
}
