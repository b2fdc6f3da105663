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

func (d *doctor) lookUp(ctx context.Context) Step {
	host := d.url.Hostname()
	if d.proxy != nil {
		return skipped("the proxy %s resolves the name", d.proxy.Redacted())
	}
	if net.ParseIP(host) != nil {
		return ok("%s is an IP address", host)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return failed("check the name, and add it to the DNS of this machine, or to /etc/hosts", "%s: %v", host, err)
	}
	return ok("%s is %s", host, strings.Join(addresses, ", "))
}

func (d *doctor) connect(ctx context.Context) Step {
	if d.proxy != nil {
		return skipped("all requests go through the proxy %s", d.proxy.Redacted())
	}
	start := time.Now()
	conn, err := (&net.Dialer{Timeout: requestTimeout}).DialContext(ctx, "tcp", d.address())
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return failed("start layoutproxy there, with --listen on an address that this machine can reach: 127.0.0.1 works only on the same machine",
			"%s: nothing is listening there: %v", d.address(), err)
	case errors.As(err, &timeout) && timeout.Timeout():
		return failed("a firewall drops the packets, or the machine is off", "%s: no answer within %s", d.address(), requestTimeout)
	case err != nil:
		return failed("check the route from this machine to that address", "%s: %v", d.address(), err)
	}
	defer conn.Close()
	return ok("%s answers in %s", conn.RemoteAddr(), time.Since(start).Round(10*time.Microsecond))
}

// soon is the remaining validity of a certificate below which the step is a warning.
const soon = 14 * 24 * time.Hour

// shakeHands checks the certificate of the registry.
func (d *doctor) shakeHands(ctx context.Context) Step {
	if d.url.Scheme == "http" {
		return skipped("the URL is plain http")
	}
	if d.proxy != nil {
		return skipped("all requests go through the proxy %s; the next step checks the certificate", d.proxy.Redacted())
	}
	config := d.login.Transport().TLSClientConfig.Clone()
	config.InsecureSkipVerify = true // verify checks the certificate below, and tells why it is invalid
	config.ServerName = d.url.Hostname()
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: requestTimeout}, Config: config}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "tcp", d.address())
	var header tls.RecordHeaderError
	switch {
	case errors.As(err, &header):
		return failed("use http://"+d.url.Host+", or start the server with --tls-cert and --tls-key", "%s does not speak TLS", d.address())
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
		return warning("renew the certificate; layoutproxy loads the new one without a restart", "%s expires on %s", describe(leaf), leaf.NotAfter.Format(time.DateTime))
	}
	return ok("%s, %s, valid until %s", tls.VersionName(state.Version), describe(leaf), leaf.NotAfter.Format(time.DateOnly))
}

// verify checks the certificate chain of the registry. The first certificate is the registry's own.
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
	advice := "check that the file of --tls-cert contains the complete chain, with the server's own certificate first"
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &unknown):
		advice = "trust the authority of the certificate with --ca-file, and in containerd with mirror-config --ca"
	case errors.As(err, &name):
		advice = "use a name that the certificate contains (" + strings.Join(namesOf(leaf), ", ") + "), or get a certificate for this name"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		advice = "renew the certificate, or correct this machine's clock, which is at " + time.Now().UTC().Format(time.DateTime) + " UTC"
	}
	if d.Client.InsecureSkipVerify {
		return warning(advice, "%s is not trusted, which is ignored on request: %v", describe(leaf), err), true
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

// adviceOfAlert returns advice about a TLS alert from the server. Go has no type for such alerts,
// so it searches the text of the error.
func adviceOfAlert(err error) string {
	text := err.Error()
	switch {
	case strings.Contains(text, "certificate required"), strings.Contains(text, "bad certificate"),
		strings.Contains(text, "unknown certificate authority"), strings.Contains(text, "handshake failure"):
		return "the server may require a client certificate from an authority in its --client-ca: give one with --client-cert and --client-key"
	case strings.Contains(text, "certificate expired"):
		return "renew the client certificate"
	}
	return "check the server's log"
}
