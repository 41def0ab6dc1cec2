use super::*;

/// The type of its file system: `ext4`, `nfs4`, `fuse.sshfs`.
fn kind(mount: &Mount) -> &str {
    &mount.kind
}

fn kind_of<'a>(mounts: &'a Mounts, path: &str) -> Option<&'a str> {
    mounts.hanging(Path::new(path)).map(kind)
}

#[test]
fn what_lies_on_a_mount_that_may_hang_is_told_and_nothing_else() {
    // Folders that no machine has: nothing of it is looked at.
    let mounts = Mounts::parse(
        b"22 1 0:20 / / rw,relatime - overlay overlay rw,lowerdir=/a\n\
          23 22 0:21 / /x0 rw - devtmpfs tmpfs rw\n\
          24 23 0:22 / /x0/shm rw master:1 shared:2 - tmpfs shm rw,size=64k\n\
          25 22 0:23 / /x1 rw - ext4 /dev/sda rw\n\
          26 25 0:24 / /x1 rw - fuse.sshfs me@there:/x1 rw\n\
          27 22 0:25 / /x1fs rw - nfs there:/ rw\n\
          28 22 0:26 / /srv0/with\\040space/\xff rw - cifs //there rw\n\
          29 22 0:27 / /x2/far rw - nfs4 there:/ rw\n\
          30 22 0:28 / /x2 rw - tmpfs tmpfs rw\n",
    )
    .unwrap();
    for (path, kind) in [
        ("/etc/x", None),
        ("/x0/shm/x/y", None),
        ("/x1", Some("fuse.sshfs")),
        ("/x1/a/b", Some("fuse.sshfs")),
        ("/x1fs/a", Some("nfs")),
        ("/x1fsx", None),
        ("/x0/../x1fs/./a", Some("nfs")),
        ("/srv0/with space/x", None),
        // Hidden by what was mounted over its parent later.
        ("/x2/far/a", None),
    ] {
        assert_eq!(kind_of(&mounts, path), kind, "{path}");
    }
    let odd = PathBuf::from(OsString::from_vec(b"/srv0/with space/\xff/a".to_vec()));
    assert_eq!(mounts.hanging(&odd).map(kind), Some("cifs"));
    let around = |path| mounts.hanging_around(Path::new(path)).map(kind);
    assert_eq!(around("/srv0"), Some("cifs"));
    assert_eq!(around("/x0"), None);
}

#[test]
fn a_link_leads_where_it_leads() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let far = dir.join("far");
    fs::create_dir(&far).unwrap();
    for (link, target) in [
        ("absolute", far.to_str().unwrap()),
        ("relative", "far/x"),
        ("over", "./relative"),
        ("loop", "loop"),
        ("near", "nothing"),
    ] {
        std::os::unix::fs::symlink(target, dir.join(link)).unwrap();
    }
    let text = format!(
        "1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / {} rw - nfs b rw\n",
        far.display()
    );
    let mounts = Mounts::parse(text.as_bytes()).unwrap();
    for (path, kind) in [
        ("far/a", Some("nfs")),
        ("absolute/a", Some("nfs")),
        ("relative", Some("nfs")),
        ("over/../b", Some("nfs")),
        ("loop", None),
        ("near/a", None),
    ] {
        let path = dir.join(path);
        assert_eq!(kind_of(&mounts, path.to_str().unwrap()), kind, "{path:?}");
    }
}

#[test]
fn the_mount_of_the_program_itself_is_near() {
    let text = b"1 0 0:1 / / rw - 9p a rw\n2 1 0:2 / /far0 rw - 9p b rw\n";
    let mut mounts = Mounts::parse(text).unwrap();
    assert_eq!(kind_of(&mounts, "/a"), Some("9p"));
    mounts.believe_near(Some(1));
    assert_eq!(kind_of(&mounts, "/a"), None);
    assert_eq!(kind_of(&mounts, "/far0/a"), Some("9p"));
}

#[test]
fn an_overlay_is_as_far_as_what_it_lies_over() {
    let text = b"1 0 0:1 / / rw - overlay overlay rw,lowerdir=/far0/own\n\
          2 1 0:2 / /far0 rw - nfs there:/ rw\n\
          3 1 0:3 / /x1 rw - overlay overlay rw,lowerdir=/x2/a:/x3/b,upperdir=/x0/c,workdir=/x0/d\n\
          4 1 0:4 / /x2 rw - overlay overlay rw,lowerdir+=/x0/a,lowerdir+=/far0/b\n\
          5 1 0:5 / /x4 rw - overlay overlay rw,lowerdir=/x0:/x5,upperdir=/x6\n\
          6 1 0:6 / /x5 rw - ext4 /dev/sda rw,lowerdir=/far0\n\
          7 1 0:7 / /x7 rw - overlay overlay rw,lowerdir=/x0,upperdir=/far0/with\\040space\n";
    let mut mounts = Mounts::parse(text).unwrap();
    mounts.doubt_overlays(Some(1));
    for (path, kind) in [
        ("/a", None),
        ("/x1/a", Some("overlay")),
        ("/x2/a", Some("overlay")),
        ("/x4/a", None),
        ("/x5/a", None),
        ("/x7/a", Some("overlay")),
    ] {
        assert_eq!(kind_of(&mounts, path), kind, "{path}");
    }
}

#[test]
fn the_overlay_that_everything_lies_on_is_near_wherever_its_layers_are_on_the_host() {
    let text =
        b"1 0 0:1 / / rw - overlay overlay rw,lowerdir=/far0/docker/a,upperdir=/far0/docker/b\n\
          2 1 0:2 / /far0 rw - nfs there:/ rw\n\
          3 1 0:3 / /tools0 rw - ext4 /dev/sda rw\n";
    let mut mounts = Mounts::parse(text).unwrap();
    mounts.doubt_overlays(Some(3));
    assert_eq!(kind_of(&mounts, "/a"), None);
    assert_eq!(kind_of(&mounts, "/far0/a"), Some("nfs"));
}

#[test]
fn what_is_mounted_in_a_chroot_is_found_without_its_root() {
    let text = b"7 3 0:2 / /far0 rw - nfs b rw\n8 7 0:3 / /far0/near rw - tmpfs c rw\n";
    let mounts = Mounts::parse(text).unwrap();
    for (path, kind) in [
        ("/a", None),
        ("/far0/a", Some("nfs")),
        ("/far0/near/a", Some("nfs")),
    ] {
        assert_eq!(kind_of(&mounts, path), kind, "{path}");
    }
    assert!(mounts.may_hang());
}

#[test]
fn a_relative_path_begins_where_the_process_is() {
    let here = std::env::current_dir().unwrap();
    let text = format!(
        "1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / {} rw - nfs b rw\n",
        here.display()
    );
    let mounts = Mounts::parse(text.as_bytes()).unwrap();
    assert_eq!(kind_of(&mounts, "ca.pem"), Some("nfs"));
    assert_eq!(kind_of(&mounts, "./x/../ca.pem"), Some("nfs"));
    assert_eq!(mounts.hanging_around(Path::new("x")).map(kind), Some("nfs"));
}

#[test]
fn what_is_no_mountinfo_tells_nothing() {
    for text in [
        "22 1 0:20 / / rw,relatime",
        "22 1 - x",
        "a 1 0:2 / / rw - a b",
    ] {
        assert_eq!(Mounts::parse(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn proc_is_near_here() {
    let mounts = Mounts::current().unwrap();
    assert_eq!(mounts.hanging(Path::new("/proc/self/stat")), None);
}
