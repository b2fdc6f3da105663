package volume

import (
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// isReserved reports whether a name is in the top-level directory tmp/ of an archive. The format
// allows no content there.
func isReserved(name string) bool { return strings.HasPrefix(name, "tmp/") }

// reservedProblem returns the problem of an archive with layouts in tmp/, which are not read. The
// problem is harmless only if the archive also contains other layouts.
func (s *scan) reservedProblem() problem.Problem {
	f := harmlessProblem("tmp/ is reserved and is not read, but contains %d files of image layouts: if they belong to the bundle, pack them again from the directory that contains them", s.reserved)
	f.Entry, f.Harmless = "tmp", len(s.layouts) > 0
	return f
}

// findMisplaced reports layouts in a security*.tar that are below an extra directory, because the archive
// was packed from a working directory that was not empty. They are served under their paths in the archive.
func findMisplaced(archive string, layouts []tarLayout) (found []problem.Problem) {
	if !strings.HasPrefix(archive, "security") {
		return nil
	}
	for _, l := range layouts {
		if at := strings.LastIndex("/"+l.path, "/security/trivy-"); at > 0 && len(found) < maxProblems {
			f := harmlessProblem("served under its own path, but belongs at %s: the archive was packed from a working directory (--tmp-dir) that was not empty; pull it again with an empty one", l.path[at:])
			f.Entry = l.path
			found = append(found, f)
		}
	}
	return found
}
