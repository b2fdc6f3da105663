package volume

import (
	"archive/tar"
	"fmt"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// links resolves hard links in an archive. The entry of a hard link refers to an earlier file in
// the archive (POSIX.1, pax, "ustar Interchange Format", typeflag 1). tar writes a file before the
// links to it, so a link never leads to a later file.
type links struct {
	// others contains up to maxOthers plain files outside of layouts. Files of layouts are recorded
	// in their layouts.
	others map[string]tarEntry
	// headers maps the name of an entry to the name in the header before its content, if the two differ.
	headers map[string]string
}

// These limits apply to the entries that are kept in memory for links.
const (
	maxOthers = 100_000
	maxLinks  = 1_000_000
)

// remember records the entry with a name. It replaces an earlier entry with the same name. e is
// zero if the entry is not a plain file. header is the name in the header before the content.
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
	if _, known := l.others[name]; e.exists() && (known || len(l.others) < maxOthers) {
		l.others[name] = e
	} else {
		delete(l.others, name)
	}
}

// header returns the name in the header before the content of an entry.
func (l *links) header(name string) string {
	if h, ok := l.headers[name]; ok {
		return h
	}
	return name
}

// followLink finds the file to which a hard link leads, and the name in the header of that file. If
// the link is refused, refused is the reason. Otherwise, refused is empty.
func (s *scan) followLink(h *tar.Header) (e tarEntry, header, refused string) {
	if len(s.links.headers) >= maxLinks {
		return tarEntry{}, "", fmt.Sprintf("one of more than %d hard links: tar --hard-dereference packs files instead of links", maxLinks)
	}
	name, illegal := cleanName(h.Linkname)
	if illegal == "" {
		if e = s.fileAt(name); e.exists() {
			return e, s.links.header(name), ""
		}
	}
	return tarEntry{}, "", fmt.Sprintf("a hard link to %.300q, which is not an earlier file of the archive: tar --hard-dereference packs files instead of links", h.Linkname)
}

// fileAt returns the plain file with the given name among the entries scanned so far, or zero if it is missing.
func (s *scan) fileAt(name string) tarEntry {
	layout, blob, ok := parseName(name)
	if !ok || isHidden(name) || isReserved(name) {
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
	return l.odd[blob]
}
