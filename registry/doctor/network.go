package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"syscall"
	"time"
)

// lookUp resolves the name.
func (d *doctor) lookUp(ctx context.Context) Step {
	host := d.url.Hostname()
	if d.proxy != nil {
		return skipped("%s looks it up, which the environment has for a proxy", d.proxy.Redacted())
	}
	if net.ParseIP(host) != nil {
		return ok("%s is an address", host)
	}
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return failed("is the name right? add it to the DNS that this machine asks, or to /etc/hosts", "%s: %v", host, err)
	}
	return ok("%s is %s", host, strings.Join(addresses, ", "))
}

// connect opens a connection.
func (d *doctor) connect(ctx context.Context) Step {
	if d.proxy != nil {
		return skipped("all goes through %s", d.proxy.Redacted())
	}
	start := time.Now()
	conn, err := (&net.Dialer{Timeout: d.Timeout}).DialContext(ctx, "tcp", d.address())
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return failed("start layoutproxy there, with --listen on an address that this machine reaches: 127.0.0.1 is for the same machine alone",
			"%s: nothing listens there: %v", d.address(), err)
	case errors.As(err, &timeout) && timeout.Timeout():
		return failed("a firewall on the way drops it, or the machine is off", "%s: no answer within %s", d.address(), d.Timeout)
	case err != nil:
		return failed("is there a route from this machine to that address?", "%s: %v", d.address(), err)
	}
	defer conn.Close()
	return ok("%s answers in %s", conn.RemoteAddr(), time.Since(start).Round(10*time.Microsecond))
}

// soon is how long before its end a certificate is warned of.
const soon = 14 * 24 * time.Hour

// shakeHands looks at the certificate that the registry shows.
func (d *doctor) shakeHands(ctx context.Context) Step {
	if d.url.Scheme == "http" {
		return skipped("the URL is plain http")
	}
	if d.proxy != nil {
		return skipped("through %s, and looked at in the next step alone", d.proxy.Redacted())
	}
	config := d.login.Transport().TLSClientConfig.Clone()
	config.InsecureSkipVerify = true // it is verified below, to tell the reasons apart
	config.ServerName = d.url.Hostname()
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: d.Timeout}, Config: config}
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "tcp", d.address())
	var header tls.RecordHeaderError
	switch {
	case errors.As(err, &header):
		return failed("ask by http://"+d.url.Host+", or start the server with --tls-cert and --tls-key", "%s does not speak TLS", d.address())
	case err != nil:
		return failed(adviceOfAlert(err), "no TLS with %s: %v", d.address(), err)
	}
	defer conn.Close()
	state := conn.(*tls.Conn).ConnectionState()
	leaf := state.PeerCertificates[0]
	if step, bad := d.verify(state.PeerCertificates); bad {
		return step
	}
	if left := time.Until(leaf.NotAfter); left < soon {
		return warning("renew the certificate; layoutproxy takes a new one without a restart", "%s ends on %s", describe(leaf), leaf.NotAfter.Format(time.DateTime))
	}
	return ok("%s, %s, until %s", tls.VersionName(state.Version), describe(leaf), leaf.NotAfter.Format(time.DateOnly))
}

// verify judges a chain.
func (d *doctor) verify(chain []*x509.Certificate) (step Step, bad bool) {
	leaf := chain[0]
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{DNSName: d.url.Hostname(), Roots: d.login.Transport().TLSClientConfig.RootCAs, Intermediates: intermediates})
	if err == nil {
		return Step{}, false
	}
	advice := "see whether the files of --tls-cert hold the whole chain, the server's own certificate first"
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &unknown):
		advice = "name its authority with --ca-file, and to containerd with mirror-config --ca"
	case errors.As(err, &name):
		advice = "ask by a name that the certificate holds (" + strings.Join(namesOf(leaf), ", ") + "), or have one made for this name"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		advice = "renew the certificate, or set this machine's clock, which says " + time.Now().UTC().Format(time.DateTime) + " UTC"
	}
	if d.Client.InsecureSkipVerify {
		return warning(advice, "%s is not trusted, which was asked to be overlooked: %v", describe(leaf), err), true
	}
	return failed(advice, "%s is not trusted: %v", describe(leaf), err), true
}

func describe(c *x509.Certificate) string {
	subject := c.Subject.String()
	if subject == "" {
		subject = strings.Join(namesOf(c), ", ")
	}
	return "the certificate of " + subject + ", signed by " + c.Issuer.String()
}

func namesOf(c *x509.Certificate) []string {
	names := c.DNSNames
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// adviceOfAlert reads what the other side says in breaking off. Go has no type for it.
func adviceOfAlert(err error) string {
	text := err.Error()
	switch {
	case strings.Contains(text, "certificate required"), strings.Contains(text, "bad certificate"),
		strings.Contains(text, "unknown certificate authority"), strings.Contains(text, "handshake failure"):
		return "the server wants a client's certificate, of an authority in its --client-ca: give one with --client-cert and --client-key"
	case strings.Contains(text, "certificate expired"):
		return "renew the client's certificate"
	}
	return "see the server's log"
}
