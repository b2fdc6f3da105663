package containerd

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
)

// A section is recognized by the start of its first and last line.
const (
	beginMark = "# BEGIN layoutproxy mirror-config"
	beginLine = beginMark + ": layoutproxy manages the lines down to END; --remove removes them."
	endMark   = "# END layoutproxy mirror-config"
)

// made are the file and directories that were created for our section.
type made int

const (
	madeNothing made = iota
	madeTheFile
	madeTheDir  // and the file in it
	madeTheDirs // and certs.d above it
)

// madeLines are the second lines of sections. Files of earlier versions contain them too.
var madeLines = []string{
	madeTheFile: "# The file was made for it.",
	madeTheDir:  "# The file and its directory were made for it.",
	madeTheDirs: "# The file, its directory and the one above were made for it.",
}

// section is the position of our section in a text.
type section struct {
	begin, end int // offsets; end is after the last line's newline
	made       made
}

// findSection finds our section, or returns nil. The error is an [*AdviceError] about
// BEGIN and END lines that do not match.
func findSection(text []byte) (*section, error) {
	var found *section
	inside := false
	offset, number := 0, 0
	for line := range bytes.Lines(text) {
		number++
		trimmed := strings.TrimSpace(string(line))
		switch {
		case strings.HasPrefix(trimmed, beginMark):
			if found != nil {
				return nil, badMarks(number, "a second BEGIN of layoutproxy's section")
			}
			found, inside = &section{begin: offset}, true
		case strings.HasPrefix(trimmed, endMark):
			if !inside {
				return nil, badMarks(number, "an END of layoutproxy's section without its BEGIN")
			}
			found.end, inside = offset+len(line), false
		case inside && trimmed != "" && slices.Contains(madeLines, trimmed):
			found.made = made(slices.Index(madeLines, trimmed))
		}
		offset += len(line)
	}
	if inside {
		return nil, badMarks(number, "layoutproxy's section has a BEGIN and no END")
	}
	return found, nil
}

func badMarks(line int, reason string) error {
	return advise("remove the lines of that section by hand, with both marks, and try again", "line %d: %s", line, reason)
}

// without returns the text as it was before our section was added, and the section's offset.
func (s *section) without(text []byte) (rest []byte, at int) {
	begin, end := s.begin, s.end
	if end == len(text) && !bytes.HasSuffix(text, []byte("\n")) {
		// The last line of the file had no newline: one was added before our section, and the
		// last line of the section has none.
		before := bytes.TrimSuffix(text[:begin], []byte("\n"))
		begin = len(bytes.TrimSuffix(before, []byte("\r")))
	}
	return slices.Concat(text[:begin], text[end:]), begin
}

// render returns our section, with the line endings of the file. alone means that the file
// has no other content. created are the file and directories to create for the section.
func (m *Mirror) render(file string, alone bool, created made, eol string) []byte {
	lines := beginLine + "\n"
	if created != madeNothing {
		lines += madeLines[created] + "\n"
	}
	lines += m.comment(filepath.Dir(filepath.Dir(file)), file) + m.top(alone) + m.table() + endMark + "\n"
	return []byte(strings.ReplaceAll(lines, "\n", eol))
}

// insertLines inserts lines into a text at an offset where a line begins or the text ends.
func insertLines(text []byte, at int, lines []byte, eol string) []byte {
	if at == len(text) && at > 0 && text[at-1] != '\n' {
		lines = append([]byte(eol), bytes.TrimSuffix(lines, []byte(eol))...)
	}
	return slices.Concat(text[:at], lines, text[at:])
}

func endOfLine(text []byte) string {
	if i := bytes.IndexByte(text, '\n'); i > 0 && text[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}
