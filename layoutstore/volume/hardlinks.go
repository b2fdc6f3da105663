package volume

import (
	"archive/tar"
	"fmt"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// links follows hard links in an archive: an entry that names an earlier file of the
// archive is that file (POSIX.1, pax, "ustar Interchange Format", typeflag 1). Files
// come before the links to them in what tar writes, so nothing is followed forward.
type links struct {
	// others are the plain files that are none of a layout, up to maxOthers. Those of
	// layouts are found in the layouts.
	others map[string]tarEntry
	// headers are the names in the headers in front of the bytes, where those are not the
	// name of the entry.
	headers map[string]string
}

// Bounds of what is remembered for links.
const (
	maxOthers = 100_000
	maxLinks  = 1_000_000
)

// remember notes what is at a name from now on: e is the zero value where it is no
// plain file, header the name in the header in front of its bytes.
func (l *links) remember(name, header string, e tarEntry, ofLayout bool) {
	if header == name {
		delete(l.headers, name)
	} else {
		if l.headers == nil {
			l.headers = map[string]string{}
		}
		l.headers[name] = header
	}
	if ofLayout {
		return
	}
	if l.others == nil {
		l.others = map[string]tarEntry{}
	}
	if _, known := l.others[name]; e.there() && (known || len(l.others) < maxOthers) {
		l.others[name] = e
	} else {
		delete(l.others, name)
	}
}

// header is the name in the header in front of the bytes of an entry.
func (l *links) header(name string) string {
	if h, ok := l.headers[name]; ok {
		return h
	}
	return name
}

// follow finds the file that a hard link names, and the name in its header, or says
// why the link is refused.
func (s *scan) follow(h *tar.Header) (e tarEntry, header, refused string) {
	if len(s.links.headers) >= maxLinks {
		return tarEntry{}, "", fmt.Sprintf("one of more than %d hard links: tar --hard-dereference packs files in the place of links", maxLinks)
	}
	name, illegal := cleanName(h.Linkname)
	if illegal == "" {
		if e = s.at(name); e.there() {
			return e, s.links.header(name), ""
		}
	}
	return tarEntry{}, "", fmt.Sprintf("a hard link to %.300q, which is no file in the archive before it: tar --hard-dereference packs files in the place of links", h.Linkname)
}

// at is the plain file that the archive has at a name so far.
func (s *scan) at(name string) tarEntry {
	layout, blob, ok := parseName(name)
	if !ok || hidden(name) || reserved(name) {
		return s.links.others[name]
	}
	l := s.layouts[layout]
	switch sum, plain := names.SHA256Sum(blob); {
	case l == nil:
		return tarEntry{}
	case blob == "":
		return l.index
	case plain:
		return l.sums[sum]
	}
	return l.odd[string(blob)]
}
