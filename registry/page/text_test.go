package page

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestVisible(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                      "",
		"v1.70.1":               "v1.70.1",
		"привет, 世界 é":          "привет, 世界 é",
		"a\u202egnp.exe":        `a\u{202E}gnp.exe`, // right-to-left override (UAX #9)
		"a\u200bb\u00adc":       `a\u{200B}b\u{AD}c`,
		"\x00\t\n\x7f\u0085":    `\u{0}\u{9}\u{A}\u{7F}\u{85}`,
		"a\u00a0b\u3000c\u2028": `a\u{A0}b\u{3000}c\u{2028}`,
		"\xff\xfe":              `\xff\xfe`,
		"\ufffd":                "\ufffd",
		"\ufe0f\U000e0041":      `\u{FE0F}\u{E0041}`, // a variation selector and a tag character
		"\ue000":                `\u{E000}`,
		"<b>":                   "<b>", // the template will escape it
	} {
		if got := visible(in); got != want {
			t.Errorf("visible(%q) = %q, want %q", in, got, want)
		}
	}
	long := visible(strings.Repeat("é", maxText+5))
	if want := strings.Repeat("é", maxText) + "… (10 more bytes)"; long != want {
		t.Errorf("a long text ends with %q, want %q", long[len(long)-30:], want[len(want)-30:])
	}
}

// The address shown for nodes is the one that the registry listens on. If the registry listens on
// all addresses, the address shown contains the host of the browser's request.
func TestAddressForNodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		listen, host, want string
		loopback           bool
	}{
		{"127.0.0.1:5000", "10.1.1.1:5580", "127.0.0.1:5000", true},
		{"[::1]:5000", "localhost:5580", "[::1]:5000", true},
		{"10.0.0.7:5000", "proxy.example:5580", "10.0.0.7:5000", false},
		{"0.0.0.0:5000", "proxy.example:5580", "proxy.example:5000", false},
		{"[::]:5000", "proxy.example", "proxy.example:5000", false},
		{"[::]:5000", "[2001:db8::1]:5580", "[2001:db8::1]:5000", false},
		{"0.0.0.0:5000", "a$(reboot)", "127.0.0.1:5000", false},
		{"0.0.0.0:5000", "-x", "127.0.0.1:5000", false},
		{"0.0.0.0:5000", "a b", "127.0.0.1:5000", false},
		{"0.0.0.0:5000", "", "127.0.0.1:5000", false},
	} {
		if got, loopback := addressFor(c.listen, c.host); got != c.want || loopback != c.loopback {
			t.Errorf("address of %s for the Host %s = %s, loopback %t; want %s, loopback %t", c.listen, c.host, got, loopback, c.want, c.loopback)
		}
	}
}

// Each command has the options that its client needs, depending on whether the registry uses TLS or
// a loopback address. The commands for images differ from those for other artifacts.
func TestPullCommands(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		registry Registry
		runnable bool
		want     string
	}{
		{Registry{Address: "127.0.0.1:5000"}, true, `crictl pull registry.deckhouse.io/app:v1
ctr --namespace k8s.io images pull --hosts-dir /etc/containerd/certs.d registry.deckhouse.io/app:v1
ctr --namespace k8s.io images pull --plain-http 127.0.0.1:5000/app:v1
crane pull 127.0.0.1:5000/app:v1 image.tar
skopeo copy --src-tls-verify=false docker://127.0.0.1:5000/app:v1 dir:image
docker pull 127.0.0.1:5000/app:v1`},
		{Registry{Address: "10.0.0.1:5000"}, false, `crane pull --insecure 10.0.0.1:5000/app:v1 image.tar
skopeo copy --src-tls-verify=false docker://10.0.0.1:5000/app:v1 dir:image`},
		{Registry{Address: "10.0.0.1:5000", TLS: true, Login: true}, true, `crictl pull registry.deckhouse.io/app:v1
ctr --namespace k8s.io images pull --hosts-dir /etc/containerd/certs.d registry.deckhouse.io/app:v1
ctr --namespace k8s.io images pull 10.0.0.1:5000/app:v1
crane pull 10.0.0.1:5000/app:v1 image.tar
skopeo copy docker://10.0.0.1:5000/app:v1 dir:image
docker pull 10.0.0.1:5000/app:v1`},
	} {
		p := &Page{options: Options{Registry: c.registry}}
		page := &imagePage{Repository: repositoryRow{Path: "app"}, Tag: "v1", Node: p.node(httptest.NewRequest("GET", "/", nil), Status{Upstream: "registry.deckhouse.io"})}
		var lines []string
		for _, command := range commandsFor(page, c.runnable) {
			lines = append(lines, command.Text)
			if login := strings.HasPrefix(command.Note, "Log in first"); login != (c.registry.Login && !strings.HasPrefix(command.Tool, "containerd")) {
				t.Errorf("the command %s has the note %q, want \"Log in first\" if the registry requires a login and the tool is not containerd, and no such note otherwise", command.Text, command.Note)
			}
		}
		if got := strings.Join(lines, "\n"); got != c.want {
			t.Errorf("for the registry %+v, the commands differ from those in the table:\n%s", c.registry, got)
		}
	}
}

func TestUpstreamIsHostName(t *testing.T) {
	t.Parallel()
	p := &Page{options: Options{Registry: Registry{Address: "127.0.0.1:5000"}}}
	for name, guessed := range map[string]bool{
		"registry.example": false, "registry.example:5000": false, "localhost": false, "": true, "a b": true, "$(reboot)": true, "a/b": true, "-rf": true,
		"a\nb": true, "a:b": true, "a:123456": true,
	} {
		n := p.node(httptest.NewRequest("GET", "/", nil), Status{Upstream: name})
		if n.Guessed != guessed || guessed && n.Upstream != unknownUpstream || strings.HasPrefix(n.Hosts, "# regis") {
			t.Errorf("for the upstream %q, node = %+v; want Guessed %t, the placeholder if that is true, and always a hosts.toml without an error", name, n, guessed)
		}
	}
}
