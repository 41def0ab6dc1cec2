//! Which container this is, told by the layer it writes to.

use super::read_small;
use std::path::Path;

/// An id as Docker, Podman and containerd write it: 64 hexadecimal digits.
const ID_LEN: usize = 64;

/// The id of the layer that this container writes to: one container has one, in all of its lives.
/// Its host name, hosts and resolv.conf prove nothing: with `--network container:…` they are
/// another container's. `None` if the paths in `/proc/self/mountinfo` hold no such id.
#[must_use]
pub fn container_id() -> Option<String> {
    of_mountinfo(&read_small(Path::new("/proc/self/mountinfo")).ok()?)
}

/// `36 35 98:0 /root /mountpoint options - type source super-options`, see proc_pid_mountinfo(5).
fn of_mountinfo(mountinfo: &str) -> Option<String> {
    let root = mountinfo
        .lines()
        .find(|line| line.split(' ').nth(4) == Some("/"))?;
    let below = root.split(' ').nth(3)?;
    let options = root.rsplit(' ').next()?;
    let upper = options
        .split(',')
        .find_map(|option| option.strip_prefix("upperdir="));
    let Some(upper) = upper else {
        return of_layer(below);
    };
    let id = upper.split('/').rfind(|part| is_id(part))?;
    Some(id.to_owned())
}

/// Without an overlay, the container's own layer is mounted, below one of these. Other paths may
/// hold an image, which containers share.
fn of_layer(path: &str) -> Option<String> {
    ["/vfs/dir/", "/btrfs/subvolumes/"].iter().find_map(|home| {
        let (_, layer) = path.split_once(home)?;
        let id = layer.split('/').next().filter(|part| is_id(part))?;
        Some(id.to_owned())
    })
}

fn is_id(part: &str) -> bool {
    part.len() == ID_LEN && part.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::of_mountinfo;

    const ID: &str = "4d8e2f0c9b1a7d6e5f4c3b2a19087f6e5d4c3b2a1908f7e6d5c4b3a291807f6e";
    const OTHER: &str = "0000000000000000000000000000000000000000000000000000000000000000";

    #[test]
    fn the_layer_that_is_written_to_is_told_and_nothing_else() {
        let hostname =
            format!("8 2 8:1 /docker/containers/{OTHER}/hostname /etc/hostname rw - ext4 d rw");
        let cases = [
            (
                format!(
                    "1 2 0:50 / / rw - overlay overlay rw,lowerdir=/o/{OTHER}/diff,upperdir=/o/{ID}/diff"
                ),
                Some(ID),
            ),
            (
                format!("1 2 8:1 /vfs/dir/{ID} / rw - ext4 /dev/sda rw"),
                Some(ID),
            ),
            (
                format!("1 2 0:31 /btrfs/subvolumes/{ID} / rw - btrfs /dev/sda rw"),
                Some(ID),
            ),
            (
                format!("1 2 8:1 /images/{ID}/rootfs / ro - ext4 /dev/sda rw"),
                None,
            ),
            (
                "1 2 0:50 / / rw - overlay overlay rw,upperdir=/snapshots/17/fs".to_owned(),
                None,
            ),
            ("1 2 8:1 / / rw - ext4 /dev/sda rw".to_owned(), None),
        ];
        for (root, want) in cases {
            let mountinfo = format!("{hostname}\n{root}\n");
            assert_eq!(of_mountinfo(&mountinfo).as_deref(), want, "{root}");
        }
        assert_eq!(of_mountinfo(&hostname), None);
        assert_eq!(of_mountinfo(""), None);
    }
}
