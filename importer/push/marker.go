package push

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

// begun is the first line of a marker. In a file of MarkInterrupted, it is the only one, without a newline.
const begun = "begun"

// isMarker reports whether content is that of a marker, and not the Location of an upload.
func isMarker(content string) bool { return content == begun || strings.HasPrefix(content, begun+"\n") }

// MarkInterrupted makes the next push to a destination check what is there, as after an interrupted
// push. It is for a process that does not know how the last push ended.
func (s *State) MarkInterrupted(to client.Reference) { s.destination(to).Save(begun) }

// destination returns the marker for everything at a destination.
func (s *State) destination(to client.Reference) *stateFile { return s.file("push", to.String()) }

// markerLines returns the lines with which a marker names the repositories and manifests of a plan. A marker
// needs them because a push of other content to the same registry proves nothing about this content.
func (p *Plan) markerLines() map[string]bool {
	lines := map[string]bool{}
	add := func(name ...string) {
		sum := sha256.Sum256([]byte(p.Destination.Registry + "\n" + strings.Join(name, "\n")))
		lines[hex.EncodeToString(sum[:8])] = true
	}
	for _, r := range p.Repositories {
		add(r.Name) // even without a manifest, a repository may have blobs of an interrupted push
		for _, m := range r.Manifests {
			add(r.Name, m.Digest.String())
		}
	}
	return lines
}

// mark stores a marker for a push that begins to write, and returns the marker.
func (s *State) mark(to client.Reference, lines map[string]bool) *stateFile {
	content := begun + "\n" + strings.Join(slices.Sorted(maps.Keys(lines)), "\n")
	f := s.file("push", to.String(), content)
	f.Save(content)
	return f
}

// findMarkers returns the markers that name content of a push to a destination.
func (s *State) findMarkers(to client.Reference, lines map[string]bool) []*stateFile {
	all := s.destination(to).name
	return slices.DeleteFunc(s.files(), func(f *stateFile) bool {
		content := f.Load()
		named := func(line string) bool { return lines[line] }
		return !isMarker(content) || f.name != all && !slices.ContainsFunc(strings.Split(content, "\n")[1:], named)
	})
}

// unmark removes the proven content of a push from markers, and removes the markers that name nothing else.
func unmark(markers []*stateFile, lines map[string]bool) {
	for _, f := range markers {
		content := f.Load()
		if content == "" {
			continue // another push has removed the marker, or it cannot be read now
		}
		left := slices.DeleteFunc(strings.Split(content, "\n"), func(line string) bool { return line == begun || lines[line] })
		if len(left) == 0 {
			f.Drop()
			continue
		}
		f.Save(begun + "\n" + strings.Join(left, "\n"))
	}
}
