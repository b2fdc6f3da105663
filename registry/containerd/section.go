package containerd

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
)

// layoutproxy finds its section by the start of the section's first and last line.
const (
	beginMark = "# BEGIN layoutproxy mirror-config"
	beginLine = beginMark + ": layoutproxy manages the lines down to END; --remove removes them."
	endMark   = "# END layoutproxy mirror-config"
)

// made tells which files and directories were created for layoutproxy's section.
type made int

const (
	madeNothing made = iota
	madeTheFile
	// madeTheDir means the file and its directory.
	madeTheDir
	// madeTheDirs means the file, its directory and the certs.d directory above.
	madeTheDirs
)

// madeLines are the second lines of sections; "it" is the section. Do not change them: earlier versions wrote them, too.
var madeLines = []string{
	madeTheFile: "# The file was made for it.",
	madeTheDir:  "# The file and its directory were made for it.",
	madeTheDirs: "# The file, its directory and the one above were made for it.",
}

// section is the position of layoutproxy's section in a text.
type section struct {
	begin, end int // offsets in bytes; end is after the newline of the last line
	made       made
}

// findSection finds layoutproxy's section. It returns nil if there is none. If the BEGIN and END
// lines do not match, the error is an [*AdviceError].
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

// removeFrom returns text as it was before layoutproxy's section was added. at is the offset of
// the section.
func (s *section) removeFrom(text []byte) (rest []byte, at int) {
	begin, end := s.begin, s.end
	if end == len(text) && !bytes.HasSuffix(text, []byte("\n")) {
		// The last line of the original file had no newline. Write added a newline before the
		// section, and in return wrote the last line of the section without one.
		before := bytes.TrimSuffix(text[:begin], []byte("\n"))
		begin = len(bytes.TrimSuffix(before, []byte("\r")))
	}
	return slices.Concat(text[:begin], text[end:]), begin
}

// render returns layoutproxy's section, with the line endings of the file. alone means that the
// file has no other settings. created says what has to be created for the section.
func (m *Mirror) render(file string, alone bool, created made, eol string) []byte {
	lines := beginLine + "\n"
	if created != madeNothing {
		lines += madeLines[created] + "\n"
	}
	lines += m.comment(filepath.Dir(filepath.Dir(file)), file) + m.top(alone) + m.table() + endMark + "\n"
	return []byte(strings.ReplaceAll(lines, "\n", eol))
}

// insertLines inserts lines into text at an offset: the start of a line, or the end of the text.
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
