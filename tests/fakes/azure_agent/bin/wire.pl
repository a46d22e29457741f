# What the stub agent speaks with: base64, JSON and HTTP, in what perl-base has. Loaded by Agent.Listener and Agent.Worker.
use strict;
use warnings;
use IO::Socket::INET;
use IO::Select;
use Socket;

our $bearer = '';
our $agent_version = '0';

sub unbase64 {
  my ($text) = @_;
  $text =~ tr{-_}{+/}; $text =~ tr{A-Za-z0-9+/}{}cd; $text =~ tr{A-Za-z0-9+/}{ -_};
  my $out = '';
  $out .= unpack 'u', chr(32 + length($1) * 3 / 4) . $1 while $text =~ /(.{1,60})/gs;
  return $out;
}
sub base64 {
  my $text = pack 'u', $_[0];
  $text =~ s/^.//mg; $text =~ s/\n//g; $text =~ tr{` -_}{AA-Za-z0-9+/};
  my $pad = (3 - length($_[0]) % 3) % 3;
  $text =~ s/.{$pad}$/'=' x $pad/e if $pad;
  return $text;
}
sub base64url { my $text = base64($_[0]); $text =~ tr{+/}{-_}; $text =~ s/=+$//; return $text }

sub quoted {
  my ($text) = @_;
  $text =~ s/(["\\])/\\$1/g;
  $text =~ s/([\x00-\x1f])/sprintf '\\u%04x', ord $1/ge;
  return qq("$text");
}
sub to_json {    # \42 and \'true' stand for what is no text
  my ($value) = @_;
  return 'null' unless defined $value;
  return '{' . join(',', map { quoted($_) . ':' . to_json($value->{$_}) } sort keys %$value) . '}' if ref $value eq 'HASH';
  return '[' . join(',', map { to_json($_) } @$value) . ']' if ref $value eq 'ARRAY';
  return $$value if ref $value;
  return quoted($value);
}
sub from_json { my ($text) = @_; return undef unless defined $text && $text =~ /^\s*[\[{"]/; return json_value(\$text) }
sub json_value {
  my ($t) = @_;
  $$t =~ s/^\s+//;
  if ($$t =~ s/^\{//) {
    my %object;
    until ($$t =~ s/^\s*\}//) {
      $$t =~ s/^\s*,//; $$t =~ s/^\s+//;
      my $key = json_value($t); $$t =~ s/^\s*:// or die "json\n"; $object{$key} = json_value($t);
    }
    return \%object;
  }
  if ($$t =~ s/^\[//) {
    my @array;
    until ($$t =~ s/^\s*\]//) { $$t =~ s/^\s*,//; push @array, json_value($t) }
    return \@array;
  }
  if ($$t =~ s/^"((?:[^"\\]|\\.)*)"//s) {
    my $text = $1;
    my %plain = (n => "\n", t => "\t", r => "\r", b => "\b", f => "\f");
    $text =~ s{\\u([0-9a-fA-F]{4})}{my $c = chr hex $1; utf8::encode($c); $c}ge;
    $text =~ s{\\(.)}{exists $plain{$1} ? $plain{$1} : $1}ge;
    return $text;
  }
  return $1 eq 'null' ? undef : $1 eq 'true' ? 1 : $1 eq 'false' ? 0 : $1 if $$t =~ s/^(null|true|false|[-+.0-9eE]+)//;
  die "json\n";
}

# What is written to and read from, and the process that speaks TLS, if one does: it trusts whom the image trusts.
sub connected {
  my ($secure, $host, $port) = @_;
  return (IO::Socket::INET->new(PeerAddr => $host, PeerPort => $port, Timeout => 10), 0) unless $secure;
  socketpair my $here, my $there, AF_UNIX, SOCK_STREAM, PF_UNSPEC or return (undef, 0);
  my $child = fork;
  return (undef, 0) unless defined $child;
  if (!$child) {
    close $here;
    open STDIN, '<&', $there; open STDOUT, '>&', $there; open STDERR, '>', '/dev/null';
    my $named = $host =~ /^[0-9.]+$/ ? '-verify_ip' : '-verify_hostname';
    exec 'openssl', 's_client', '-quiet', '-verify_return_error', $named, $host, '-connect', "$host:$port" or POSIX::_exit(127);
  }
  close $there;
  select((select($here), $| = 1)[0]);
  return ($here, $child);
}
sub parted {
  my ($socket, $child) = @_;
  close $socket;
  if ($child) { kill 'TERM', $child; waitpid $child, 0 }
}

# (status, decoded body); status 0 where no answer came, -1 where $given{while} did not want it any more.
sub http {
  my ($method, $url, $body, %given) = @_;
  my ($secure, $host, $port, $path) = $url =~ m{^http(s?)://([^:/]+)(?::(\d+))?(/.*)?$} or return (0, undef);
  my ($socket, $child) = connected($secure, $host, $port || ($secure ? 443 : 80));
  return (0, undef) unless $socket;
  local $SIG{PIPE} = 'IGNORE';
  my $type = $given{form} ? 'application/x-www-form-urlencoded' : 'application/json; api-version=6.0-preview';
  my $content = !defined $body ? '' : ref $body ? to_json($body) : $body;
  my $auth = exists $given{auth} ? $given{auth} : $bearer && "Bearer $bearer";
  print $socket "$method $path HTTP/1.1\r\nHost: $host\r\nUser-Agent: VSServices/$agent_version\r\n",
    "Accept: application/json;api-version=6.0-preview\r\nX-TFS-FedAuthRedirect: Suppress\r\n",
    "Content-Type: $type\r\nContent-Length: ", length $content, "\r\n", ($auth ? "Authorization: $auth\r\n" : ''),
    "Connection: close\r\n\r\n", $content;
  my ($select, $reply, $end) = (IO::Select->new($socket), '', time + 100);
  while (1) {
    if ($given{while} && !$given{while}->()) { parted($socket, $child); return (-1, undef) }
    if (time > $end) { parted($socket, $child); return (0, undef) }
    next unless $select->can_read(0.1);
    my $got = sysread $socket, my $piece, 65536;
    last unless $got;
    $reply .= $piece;
  }
  parted($socket, $child);
  my ($head, $text) = split /\r\n\r\n/, $reply, 2;
  my ($status) = ($head || '') =~ m{^HTTP/1\.\d (\d+)} or return (0, undef);
  return ($status, eval { from_json($text) });
}

1;
