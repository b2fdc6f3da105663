package daemon

import "golang.org/x/sys/unix"

// freeSpace returns the free space of the file systems of paths, each once.
func freeSpace(paths []string) (all []diskStatus) {
	seen := map[unix.Fsid]bool{}
	for _, path := range paths {
		var st unix.Statfs_t
		if unix.Statfs(path, &st) != nil || seen[st.Fsid] {
			continue
		}
		if st.Fsid != (unix.Fsid{}) { // else the file system has no identity
			seen[st.Fsid] = true
		}
		all = append(all, diskStatus{path, int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize}) //nolint:unconvert // other types on other architectures
	}
	return all
}
