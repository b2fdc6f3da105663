package containerd

import (
	"bytes"
	"maps"
	"reflect"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// edit returns text with this mirror's part: in the place of an earlier one, or else
// before the first table, so that it is asked before the hosts that are there. what
// says what is new where there was no part. file is for the comments.
func (m *Mirror) edit(text []byte, file string, what made) ([]byte, error) {
	if _, err := parse(text); err != nil {
		return nil, err
	}
	old, err := findPart(text)
	if err != nil {
		return nil, err
	}
	rest := text
	var at int
	if old != nil {
		rest, at = old.without(text)
		what = old.made
	} else {
		at = place(text)
	}
	keys, err := parse(rest)
	if err != nil {
		return nil, err
	}
	if err := m.conflict(keys); err != nil {
		return nil, err
	}
	eol := endOfLine(rest)
	lines := m.render(file, len(keys) == 0, what, eol)
	if len(keys) > 0 && m.options.NoFallback && keys["server"] != nil {
		lines = m.renderWithout(lines, eol) // the file's own server is this mirror
	}
	edited := put(rest, at, lines, eol)
	return edited, sameButFor(edited, rest, lines)
}

// renderWithout drops the top-level keys of a rendered part.
func (m *Mirror) renderWithout(lines []byte, eol string) []byte {
	return bytes.Replace(lines, []byte(strings.ReplaceAll(m.top(false), "\n", eol)), nil, 1)
}

// take returns text without our part, and what goes with it; found says whether there
// was one.
func take(text []byte) (rest []byte, what made, found bool, err error) {
	if _, err := parse(text); err != nil {
		return nil, madeNothing, false, err
	}
	p, err := findPart(text)
	if p == nil || err != nil {
		return text, madeNothing, false, err
	}
	rest, _ = p.without(text)
	return rest, p.made, true, sameButFor(text, rest, text[p.begin:p.end])
}

// conflict finds what in a file cannot be beside this mirror.
func (m *Mirror) conflict(keys map[string]any) error {
	own, err := Endpoint(m.Endpoint(), m.options.OverridePath)
	if err != nil {
		return err
	}
	hosts, _ := keys["host"].(map[string]any)
	for name, settings := range hosts {
		if same, err := Endpoint(name, overrides(settings)); err == nil && same == own {
			return advise("take that table out if layoutproxy is to keep the entry from now on, or leave the file as it is: it points at the proxy already",
				"it has a hand-written table for the same endpoint: [host.%s]", quote(name))
		}
	}
	if !m.options.NoFallback {
		return nil
	}
	if server, ok := keys["server"].(string); ok {
		if same, err := Endpoint(server, overrides(keys)); err == nil && same == own {
			return nil
		}
		return advise("take that line out, or do without --no-fallback",
			"its own line server = %s says where containerd goes on, and --no-fallback needs another", quote(server))
	}
	for _, key := range serverKeys {
		if keys[key] != nil {
			return advise("take that key out, or do without --no-fallback",
				"its own key %q is for the registry itself, and --no-fallback puts the mirror in its place", key)
		}
	}
	return nil
}

// serverKeys are the top-level keys that describe the server.
var serverKeys = []string{"server", "capabilities", "ca", "client", "skip_verify", "header", "override_path", "dial_timeout"}

func overrides(settings any) bool {
	table, _ := settings.(map[string]any)
	override, _ := table["override_path"].(bool)
	return override
}

// place is where a new part goes: before the first table and the comment that belongs
// to it, or at the end. The text is valid TOML.
func place(text []byte) int {
	var p unstable.Parser
	p.Reset(text)
	behind := 0 // the last key of the top level
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.KeyValue:
			behind = int(e.Raw.Offset + e.Raw.Length)
		case unstable.Table, unstable.ArrayTable:
			keys := e.Key()
			keys.Next()
			return aboveComment(text, behind, lineStart(text, int(keys.Node().Raw.Offset)))
		}
	}
	return len(text)
}

// aboveComment goes up from a line over the comment lines right above it, to no line
// that begins before least.
func aboveComment(text []byte, least, at int) int {
	for at > least {
		above := lineStart(text, at-1)
		if above < least || !bytes.HasPrefix(bytes.TrimSpace(text[above:at]), []byte("#")) {
			break
		}
		at = above
	}
	return at
}

func lineStart(text []byte, at int) int { return bytes.LastIndexByte(text[:at], '\n') + 1 }

// sameButFor fails unless whole says what rest and lines say, each by itself: then no
// key of one has come into a table of the other.
func sameButFor(whole, rest, lines []byte) error {
	var said [3]map[string]any
	for i, text := range [][]byte{whole, rest, lines} {
		var err error
		if said[i], err = parse(text); err != nil {
			return advise("write the file's hosts as [host.\"…\"] tables, each once, and try again",
				"the file cannot hold layoutproxy's part: %w", err)
		}
	}
	if !reflect.DeepEqual(said[0], union(said[1], said[2])) {
		return advise("move lines of yours that stand behind layoutproxy's END, and before the next [table], to the top of the file",
			"a key of the file would belong to layoutproxy's part, or would no longer")
	}
	return nil
}

// union joins what two texts say. Of hosts both may say something.
func union(a, b map[string]any) map[string]any {
	all := maps.Clone(a)
	maps.Copy(all, b)
	ours, _ := a["host"].(map[string]any)
	theirs, _ := b["host"].(map[string]any)
	if ours != nil && theirs != nil {
		hosts := maps.Clone(ours)
		maps.Copy(hosts, theirs)
		all["host"] = hosts
	}
	return all
}
